"""The HTTP API: which routes there are, where they lead, who may come in, and what is written down about them."""

import json

import pytest

from infra import settings
from tests.infra.template import API, ENDPOINTS, NAMES, arn, flat, function, function_id, only, properties
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
def test_the_access_log_goes_to_a_log_group_of_its_own_and_names_no_header_or_query_value(stage: str) -> None:
    log = only(stage, "AWS::ApiGatewayV2::Stage")["AccessLogSettings"]
    written = set(json.loads(log["Format"]).values())
    assert written <= LOGGABLE
    assert "$context.requestId" in written  # API Gateway refuses a format without it
    assert "\n" not in log["Format"]
    group, _ = log["DestinationArn"]["Fn::GetAtt"]
    assert group in resources(stage, "AWS::Logs::LogGroup")
    assert group not in [function(stage, name)["LoggingConfig"]["LogGroup"]["Ref"] for name in NAMES]


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
