"""The HTTP API: the routes of the function table, each throttled.

On request it has an access log without header and query values, whose group is there in any case, because empty it costs nothing; a name of
its own; and a CloudFront distribution in front, because an HTTP API takes no WAF itself.
"""

import json
from typing import cast

from aws_cdk import CfnOutput, Duration, Stack
from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_certificatemanager as acm
from aws_cdk import aws_cloudfront as cloudfront
from aws_cdk import aws_cloudfront_origins as origins
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.catalog import FUNCTIONS
from infra.logs import log_group
from infra.settings import ROUTES, Settings, Throttle

ACCESS_LOG = {
    "id": "$context.requestId",
    "route": "$context.routeKey",
    "status": "$context.status",
    "ms": "$context.responseLatency",
    "bytes": "$context.responseLength",
}
CACHEABLE_ERRORS = (400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504)  # those that CloudFront may cache, its documentation
# That a web page may send, in either spelling; `*` would not cover `authorization`.
REQUEST_HEADERS = ["app_id", "access-token", "user_id", "group_id", "app-id", "user-id", "group-id", "authorization", "content-type"]
PREFLIGHT = Duration.hours(1)  # for how long a browser remembers what CORS allows


class Api(Construct):
    """One HTTP API; its `url` is where the paths of the API begin."""

    def __init__(self, scope: Construct, id: str, settings: Settings, functions: dict[str, lambda_.Function]) -> None:
        super().__init__(scope, id)
        fronted = bool(settings.web_acl_arn)
        domain = self._domain(settings) if settings.domain_name and not fronted else None
        api = apigateway.HttpApi(
            self,
            "HttpApi",
            api_name=settings.stack_name,
            create_default_stage=False,
            disable_execute_api_endpoint=True if domain else None,
            cors_preflight=_cors(settings) if settings.cors_origins else None,
        )
        routes: list[apigateway.HttpRoute] = []
        for row in FUNCTIONS:
            integration = HttpLambdaIntegration(row.name, functions[row.name])
            for route in row.routes:
                verb, path = route.split()
                routes += api.add_routes(path=path, methods=[apigateway.HttpMethod[verb]], integration=integration)
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(
                rate_limit=settings.throttle_rate_per_second, burst_limit=settings.throttle_burst_requests
            ),
            domain_mapping=apigateway.DomainMappingOptions(domain_name=domain) if domain else None,
        )
        default = Throttle(rate_per_second=settings.throttle_rate_per_second, burst_requests=settings.throttle_burst_requests)
        limits = {route: settings.throttle_routes.get(route, default) for route in ROUTES}
        log = log_group(self, "AccessLog", settings, f"/aws/apigateway/{settings.stack_name}")
        deployed = cast(apigateway.CfnStage, stage.node.default_child)
        if settings.access_log:
            deployed.access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
                destination_arn=log.log_group_arn, format=json.dumps(ACCESS_LOG)
            )
        deployed.route_settings = {
            route: {"ThrottlingRateLimit": limit.rate_per_second, "ThrottlingBurstLimit": limit.burst_requests}
            for route, limit in limits.items()
        }
        stage.node.add_dependency(*routes)  # API Gateway refuses the limits of a route that is not there yet
        self.id, self.url = api.api_id, stage.url
        if settings.domain_name:
            self.url = f"https://{settings.domain_name}/"
        if domain:
            CfnOutput(self, "DomainTarget", value=domain.regional_domain_name)
        if fronted:
            self._behind_cloudfront(api, settings)

    def _domain(self, settings: Settings) -> apigateway.DomainName:
        return apigateway.DomainName(
            self,
            "Domain",
            domain_name=settings.domain_name,
            certificate=acm.Certificate.from_certificate_arn(self, "Certificate", settings.certificate_arn),
            security_policy=apigateway.SecurityPolicy.TLS_1_2,
        )

    def _behind_cloudfront(self, api: apigateway.HttpApi, settings: Settings) -> None:
        """CloudFront, with the WAF that the settings name; it caches nothing."""
        here = Stack.of(self)
        distribution = cloudfront.Distribution(
            self,
            "Front",
            comment=settings.stack_name,
            default_behavior=cloudfront.BehaviorOptions(
                origin=origins.HttpOrigin(f"{api.api_id}.execute-api.{here.region}.{here.url_suffix}"),
                allowed_methods=cloudfront.AllowedMethods.ALLOW_ALL,
                cache_policy=cloudfront.CachePolicy.CACHING_DISABLED,
                origin_request_policy=cloudfront.OriginRequestPolicy.ALL_VIEWER_EXCEPT_HOST_HEADER,
                viewer_protocol_policy=cloudfront.ViewerProtocolPolicy.HTTPS_ONLY,
            ),
            domain_names=[settings.domain_name],
            certificate=acm.Certificate.from_certificate_arn(self, "Certificate", settings.certificate_arn),
            minimum_protocol_version=cloudfront.SecurityPolicyProtocol.TLS_V1_2_2021,
            http_version=cloudfront.HttpVersion.HTTP2_AND_3,
            web_acl_id=settings.web_acl_arn,
            # A cache policy does not hold for errors: CloudFront keeps those for 10 s unless told otherwise, and tells them to everybody.
            error_responses=[cloudfront.ErrorResponse(http_status=status, ttl=Duration.seconds(0)) for status in CACHEABLE_ERRORS],
        )
        CfnOutput(self, "DomainTarget", value=distribution.distribution_domain_name)


def _cors(settings: Settings) -> apigateway.CorsPreflightOptions:
    return apigateway.CorsPreflightOptions(
        allow_origins=settings.cors_origins,
        allow_methods=[apigateway.CorsHttpMethod[verb] for verb in sorted({route.split()[0] for route in ROUTES})],
        allow_headers=REQUEST_HEADERS,
        max_age=PREFLIGHT,
    )
