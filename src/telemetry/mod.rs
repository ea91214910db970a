//! Room for `telemetry`.
