"""The HTTP API: which routes there are, where they lead, who may come in, and what is written down about them."""

import json
from typing import Any

import pytest

from infra import settings
from tests.infra.conftest import Variant
from tests.infra.template import API, ENDPOINTS, arn, flat, function_id, only, properties
from tests.synthesized import STAGES, resources

ROUTES = {
    "POST /message/send": "send",
    "PUT /message/send": "send",
    "POST /message/notify": "notify",
    "PUT /message/notify": "notify",
    "GET /message/conversation": "history",
    "DELETE /message/conversation": "forget",
    "GET /message/ack": "ack",
    "GET /message/unread": "unread",
}
LOGGABLE = {  # what says nothing of a caller's headers, query, address or body
    "$context.requestId",
    "$context.extendedRequestId",
    "$context.requestTimeEpoch",
    "$context.routeKey",
    "$context.status",
    "$context.protocol",
    "$context.responseLatency",
    "$context.responseLength",
    "$context.integrationLatency",
    "$context.integrationStatus",
    "$context.integrationErrorMessage",
    "$context.error.responseType",
}

each_stage = pytest.mark.parametrize("stage", STAGES)


@each_stage
def test_every_route_of_the_contract_leads_to_its_function_and_there_is_no_other(stage: str) -> None:
    found = {}
    for route in resources(stage, "AWS::ApiGatewayV2::Route").values():
        integration = flat(route["Properties"]["Target"]).removeprefix("integrations/").strip("{}")
        found[route["Properties"]["RouteKey"]] = properties(stage, "AWS::ApiGatewayV2::Integration", integration)["IntegrationUri"]
    assert found == {route: arn(function_id(stage, name)) for route, name in ROUTES.items()}


@each_stage
def test_the_gateway_hands_over_the_event_that_the_functions_read(stage: str) -> None:
    integrations = [resource["Properties"] for resource in resources(stage, "AWS::ApiGatewayV2::Integration").values()]
    assert {(each["IntegrationType"], each["PayloadFormatVersion"]) for each in integrations} == {("AWS_PROXY", "2.0")}
    assert only(stage, "AWS::ApiGatewayV2::Api")["ProtocolType"] == "HTTP"


@each_stage
def test_the_one_stage_is_throttled_as_the_settings_say(stage: str) -> None:
    chosen, deployed = settings.load(stage), only(stage, "AWS::ApiGatewayV2::Stage")
    assert deployed["StageName"] == "$default"
    assert deployed["AutoDeploy"] is True
    assert deployed["DefaultRouteSettings"] == {
        "ThrottlingRateLimit": chosen.throttle_rate_per_second,
        "ThrottlingBurstLimit": chosen.throttle_burst_requests,
    }
    limits = {"ThrottlingRateLimit": chosen.throttle_rate_per_second, "ThrottlingBurstLimit": chosen.throttle_burst_requests}
    assert deployed["RouteSettings"] == dict.fromkeys(ROUTES, limits)


@each_stage
def test_a_route_is_there_before_its_limits(stage: str) -> None:
    """API Gateway refuses the limits of a route that it does not know yet."""
    (deployed,) = resources(stage, "AWS::ApiGatewayV2::Stage").values()
    assert set(resources(stage, "AWS::ApiGatewayV2::Route")) <= set(deployed["DependsOn"])


@each_stage
def test_no_web_page_may_call_the_api_unless_its_origin_is_listed(stage: str) -> None:
    assert "CorsConfiguration" not in only(stage, "AWS::ApiGatewayV2::Api")


@each_stage
def test_there_is_no_access_log_unless_it_is_asked_for(stage: str) -> None:
    assert "AccessLogSettings" not in only(stage, "AWS::ApiGatewayV2::Stage")


def test_the_access_log_goes_to_a_log_group_of_its_own_and_names_no_header_or_query_value(variant: Variant) -> None:
    made = variant("dev", access_log=True)["Resources"]
    (stage,) = (each["Properties"] for each in made.values() if each["Type"] == "AWS::ApiGatewayV2::Stage")
    log = stage["AccessLogSettings"]
    written = set(json.loads(log["Format"]).values())
    assert written <= LOGGABLE
    assert "$context.requestId" in written  # API Gateway refuses a format without it
    assert "\n" not in log["Format"]
    group, _ = log["DestinationArn"]["Fn::GetAtt"]
    assert made[group]["Type"] == "AWS::Logs::LogGroup"
    functions = [each["Properties"] for each in made.values() if each["Type"] == "AWS::Lambda::Function"]
    assert group not in [each["LoggingConfig"]["LogGroup"]["Ref"] for each in functions]


@each_stage
def test_only_this_api_may_invoke_an_endpoint_and_nobody_a_worker(stage: str) -> None:
    allowed = set()
    for permission in resources(stage, "AWS::Lambda::Permission").values():
        granted = permission["Properties"]
        assert (granted["Action"], granted["Principal"]) == ("lambda:InvokeFunction", "apigateway.amazonaws.com")
        allowed.add((flat(granted["FunctionName"]), flat(granted["SourceArn"])))
    own = f"arn:{{AWS::Partition}}:execute-api:{{AWS::Region}}:{{AWS::AccountId}}:{{{API}}}/*/*"
    paths = {(name, route.split()[1]) for route, name in ROUTES.items()}
    assert allowed == {(f"{{{function_id(stage, name)}.Arn}}", own + path) for name, path in paths}
    assert {name for name, _ in paths} == set(ENDPOINTS)


@each_stage
def test_there_is_no_other_door_to_a_function(stage: str) -> None:
    assert not resources(stage, "AWS::Lambda::Url")
    assert len(resources(stage, "AWS::ApiGatewayV2::Api")) == 1
    assert not resources(stage, "AWS::ApiGateway::RestApi")


# --- on request


CERTIFICATE = "arn:aws:acm:us-east-1:123456789012:certificate/12345678-90ab-cdef-1234-567890abcdef"
WEB_ACL = "arn:aws:wafv2:us-east-1:123456789012:global/webacl/parley/12345678-90ab-cdef-1234-567890abcdef"
ORIGIN = "https://app.example.com"
ROLE = "arn:aws:iam::123456789012:role/orders"
RULE = "arn:aws:events:eu-central-1:123456789012:rule/orders"


def of_type(made: dict[str, Any], type_: str) -> list[dict[str, Any]]:
    return [each["Properties"] for each in made["Resources"].values() if each["Type"] == type_]


def test_a_route_may_have_limits_of_its_own(variant: Variant) -> None:
    (stage,) = of_type(
        variant("dev", throttle_routes={"GET /message/unread": {"rate_per_second": 5, "burst_requests": 7}}), "AWS::ApiGatewayV2::Stage"
    )
    assert stage["RouteSettings"].pop("GET /message/unread") == {"ThrottlingRateLimit": 5, "ThrottlingBurstLimit": 7}
    assert {each["ThrottlingRateLimit"] for each in stage["RouteSettings"].values()} == {1000}


def test_web_pages_of_the_listed_origins_may_call_with_the_headers_of_the_contract(variant: Variant) -> None:
    (api,) = of_type(variant("dev", cors_origins=[ORIGIN]), "AWS::ApiGatewayV2::Api")
    assert api["CorsConfiguration"] == {
        "AllowOrigins": [ORIGIN],
        "AllowMethods": ["DELETE", "GET", "POST", "PUT"],
        "AllowHeaders": [
            *("app_id", "access-token", "user_id", "group_id", "app-id", "user-id", "group-id", "authorization", "content-type"),
        ],
        "MaxAge": 3600,
    }


def test_a_name_of_its_own_takes_tls_1_2_and_closes_the_other_door(variant: Variant) -> None:
    made = variant("dev", domain_name="chat.example.com", certificate_arn=CERTIFICATE)
    (domain,), (api,) = of_type(made, "AWS::ApiGatewayV2::DomainName"), of_type(made, "AWS::ApiGatewayV2::Api")
    (configuration,) = domain["DomainNameConfigurations"]
    assert (domain["DomainName"], configuration["SecurityPolicy"]) == ("chat.example.com", "TLS_1_2")
    assert configuration["CertificateArn"] == CERTIFICATE
    assert api["DisableExecuteApiEndpoint"] is True
    assert len(of_type(made, "AWS::ApiGatewayV2::ApiMapping")) == 1
    assert made["Outputs"]["ApiUrl"]["Value"] == "https://chat.example.com/"
    assert [name for name in made["Outputs"] if "DomainTarget" in name]


def test_a_waf_stands_in_cloudfront_which_caches_nothing(variant: Variant) -> None:
    made = variant("dev", web_acl_arn=WEB_ACL, domain_name="chat.example.com", certificate_arn=CERTIFICATE)
    (front,) = [each["DistributionConfig"] for each in of_type(made, "AWS::CloudFront::Distribution")]
    behavior = front["DefaultCacheBehavior"]
    assert front["WebACLId"] == WEB_ACL
    assert behavior["ViewerProtocolPolicy"] == "https-only"
    assert behavior["CachePolicyId"] == "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"  # CachingDisabled
    errors = {each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in front["CustomErrorResponses"]}
    assert errors == dict.fromkeys((400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504), 0)
    assert set(behavior["AllowedMethods"]) >= {"GET", "POST", "PUT", "DELETE"}
    (origin,) = front["Origins"]
    assert origin["CustomOriginConfig"]["OriginProtocolPolicy"] == "https-only"
    assert flat(origin["DomainName"]) == f"{{{API}}}.execute-api.{{AWS::Region}}.{{AWS::URLSuffix}}"
    assert front["Aliases"] == ["chat.example.com"]
    assert front["ViewerCertificate"]["MinimumProtocolVersion"] == "TLSv1.2_2021"
    assert made["Outputs"]["ApiUrl"]["Value"] == "https://chat.example.com/"


def test_a_listed_principal_may_invoke_the_functions_that_its_entry_names_and_no_other(variant: Variant) -> None:
    events = {"principal": "events.amazonaws.com", "source_arn": RULE, "functions": ["notify"]}
    made = variant("dev", invokers=[{"principal": ROLE, "functions": ["send", "unread"]}, events])
    granted = [each for each in of_type(made, "AWS::Lambda::Permission") if each["Principal"] != "apigateway.amazonaws.com"]
    assert {each["Action"] for each in granted} == {"lambda:InvokeFunction"}
    allowed = {(flat(each["FunctionName"]), each["Principal"], each.get("SourceArn")) for each in granted}
    opened = {"send": (ROLE, None), "unread": (ROLE, None), "notify": ("events.amazonaws.com", RULE)}
    assert allowed == {(f"{{{function_id('dev', name)}.Arn}}", *who) for name, who in opened.items()}
    assert len(granted) == len(allowed)
