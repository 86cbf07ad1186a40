//! WhatsApp Cloud API: payloads to items, messages to requests.
