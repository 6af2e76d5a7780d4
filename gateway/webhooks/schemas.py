"""The structs of requests and answers whose schemas the OpenAPI document has, and the names that clients know."""

from typing import Final

from gateway.webhooks import delivery_documents as deliveries
from gateway.webhooks import delivery_requests as asked_of_deliveries
from gateway.webhooks import endpoint_documents as endpoints
from gateway.webhooks import endpoint_requests as asked_of_endpoints
from gateway.webhooks.default_secret_documents import DefaultSecretDocument

STRUCTS: Final = (
    *(endpoints.EndpointDocument, endpoints.EndpointList, endpoints.DeletedEndpoint, endpoints.SampleResult),
    *(endpoints.EventTypeList, asked_of_endpoints.EndpointRequest, asked_of_endpoints.EndpointChange),
    *(asked_of_endpoints.RotationRequest, asked_of_endpoints.EnablingRequest, asked_of_endpoints.DisablingRequest),
    *(asked_of_endpoints.SampleRequest, deliveries.DeliveryDocument, deliveries.DeliveryList, deliveries.DeliveryCount),
    *(deliveries.ReplayDocument, deliveries.PulledEvents, deliveries.LeasesDocument),
    *(asked_of_deliveries.ReplayRequest, asked_of_deliveries.ClaimRequest),
    *(asked_of_deliveries.AcknowledgeRequest, asked_of_deliveries.RenewalRequest),
    DefaultSecretDocument,
)
NAMES: Final = {
    "EndpointDocument": "WebhookEndpoint",
    "EndpointList": "WebhookEndpointList",
    "EndpointRequest": "WebhookEndpointRequest",
    "EndpointChange": "WebhookEndpointChange",
    "DeletedEndpoint": "DeletedWebhookEndpoint",
    "SampleResult": "WebhookEndpointTestResult",
    "SampleRequest": "WebhookEndpointTestRequest",
    "RotationRequest": "WebhookRotationRequest",
    "EnablingRequest": "WebhookEnablingRequest",
    "DisablingRequest": "WebhookDisablingRequest",
    "Limits": "WebhookLimits",
    "LimitsRequest": "WebhookLimitsRequest",
    "Mode": "WebhookMode",
    "PayloadKind": "WebhookPayload",
    "Circuit": "WebhookEndpointStatus",
    "EventType": "WebhookEventType",
    "EventTypeList": "WebhookEventTypeList",
    "DeliveryDocument": "WebhookDelivery",
    "DeliveryList": "WebhookDeliveryList",
    "DeliveryCount": "WebhookDeliveryCount",
    "AttemptDocument": "WebhookAttempt",
    "FilterRequest": "WebhookDeliveryFilter",
    "Replay": "WebhookReplayKind",
    "ReplayRequest": "WebhookReplayRequest",
    "ReplayDocument": "WebhookReplay",
    "PulledEvent": "WebhookEvent",
    "PulledEvents": "WebhookEventList",
    "ClaimRequest": "WebhookClaimRequest",
    "LeasedEvent": "WebhookLeasedEvent",
    "AcknowledgeRequest": "WebhookAcknowledgeRequest",
    "RenewalRequest": "WebhookRenewalRequest",
    "LeasesDocument": "WebhookLeases",
    "DefaultSecretDocument": "WebhookDefaultSecret",
}
