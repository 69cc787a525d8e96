// Package webhook tells an organisation's own services of events: each event that an
// endpoint asked for is posted to its URL, signed, until the endpoint has taken it
// (docs/webhooks.md).
//
// It follows Standard Webhooks 1.0.0: headers webhook-id, webhook-timestamp and
// webhook-signature, HMAC-SHA256, 2xx is success, 410 ends it. Delivery is at least
// once and in order; a duplicate has the same id. Nothing is queued: an endpoint has a
// cursor on disk and reads the records behind it, so an endpoint that is away for a
// week costs no memory, and a restart loses nothing.
package webhook
