//! Real proxies between clients and a broker: what docs/proxies.md says of nginx, HAProxy and Envoy, with the settings
//! of deploy/proxies and with those that they have by themselves. Prints what it measures:
//!
//! ```text
//! ./scripts/test --test suite proxies:: -- --nocapture
//! ```

mod held;
mod limits;
mod proxy;
