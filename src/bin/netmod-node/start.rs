//! Starts the endpoint that the options describe.

use crate::failure::Failure;
use crate::options::Options;
use netmod_inet::{Builder, InetEndpoint, StartError};
use smol::Executor;
use smol::future::{self, block_on};
use std::panic::catch_unwind;

/// The executor of the endpoint. smol's global one also reaps child processes, which a node has none
/// of.
static EXECUTOR: Executor<'static> = Executor::new();

/// Runs the tasks of the endpoint, forever. If one of them panics, the others continue.
pub(crate) fn run_executor() {
    loop {
        let _ = catch_unwind(|| smol::block_on(EXECUTOR.run(future::pending::<()>())));
    }
}

/// Starts it, on IPv4 alone where IPv6 is unavailable.
pub(crate) fn start(options: &Options) -> Result<InetEndpoint, Failure> {
    let mut binds: Vec<&str> = options.binds.iter().map(String::as_str).collect();
    if binds.is_empty() {
        binds.push("[::]:9000");
    }
    loop {
        let error = match block_on(build(options, &binds).start()) {
            Ok(endpoint) => return Ok(endpoint),
            Err(error) => error,
        };
        // Fall back to IPv4 only where IPv6 is unavailable. If the port is in use, starting on
        // IPv4 would hide it.
        if options.binds.is_empty() && error.is_ipv6_unavailable() {
            binds = vec!["0.0.0.0:9000"];
            continue;
        }
        return Err(match error {
            StartError::Address(_) => Failure::option(format!("--bind: {error}")),
            StartError::Limits(_) => Failure::option(format!("--limit: {error}")),
            StartError::Bind { .. } => Failure::listen(error.to_string()),
            _ => Failure::runtime(error.to_string()),
        });
    }
}

fn build(options: &Options, binds: &[&str]) -> Builder {
    let (limits, policy) = (options.limits.clone(), options.accept.clone());
    let mut builder = InetEndpoint::builder_on(&EXECUTOR).limits(limits).accept(policy);
    if let Some(id) = options.id {
        builder = builder.router_id(id);
    }
    #[cfg(feature = "noise")]
    if let Some(encryption) = &options.encryption {
        builder = builder.encrypt(encryption.clone());
    }
    binds.iter().fold(builder, |builder, bind| builder.bind(bind))
}
