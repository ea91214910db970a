//! Wiring and lifecycle: listeners, the story of one connection, the control socket, shutdown.

mod relay;
