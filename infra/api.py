"""The HTTP API: the routes of the function table, throttled, with an access log that has no header or query values."""

import json
from typing import cast

from aws_cdk import aws_apigatewayv2 as apigateway
from aws_cdk import aws_lambda as lambda_
from aws_cdk.aws_apigatewayv2_integrations import HttpLambdaIntegration
from constructs import Construct

from infra.catalog import FUNCTIONS
from infra.logs import log_group
from infra.settings import Settings

ACCESS_LOG = {
    "id": "$context.requestId",
    "route": "$context.routeKey",
    "status": "$context.status",
    "ms": "$context.responseLatency",
    "bytes": "$context.responseLength",
}


class Api(Construct):
    """One HTTP API; its `url` is where the paths of the API begin."""

    def __init__(self, scope: Construct, id: str, settings: Settings, functions: dict[str, lambda_.Function]) -> None:
        super().__init__(scope, id)
        api = apigateway.HttpApi(self, "HttpApi", api_name=settings.stack_name, create_default_stage=False)
        for row in FUNCTIONS:
            integration = HttpLambdaIntegration(row.name, functions[row.name])
            for route in row.routes:
                verb, path = route.split()
                api.add_routes(path=path, methods=[apigateway.HttpMethod[verb]], integration=integration)
        stage = apigateway.HttpStage(
            self,
            "Stage",
            http_api=api,
            stage_name="$default",
            auto_deploy=True,
            throttle=apigateway.ThrottleSettings(
                rate_limit=settings.throttle_rate_per_second, burst_limit=settings.throttle_burst_requests
            ),
        )
        log = log_group(self, "AccessLog", settings, f"/aws/apigateway/{settings.stack_name}")
        cast(apigateway.CfnStage, stage.node.default_child).access_log_settings = apigateway.CfnStage.AccessLogSettingsProperty(
            destination_arn=log.log_group_arn, format=json.dumps(ACCESS_LOG)
        )
        self.id, self.url = api.api_id, stage.url
