//! How much the tests do: little enough for every build, or the full acceptance test.

/// Selects the scale, with the value `full`.
const VARIABLE: &str = "NETMOD_INET_MODEL";

pub(crate) const MB: u64 = 1_000_000;
pub(crate) const MIB: u64 = 1 << 20;

/// One of two amounts: the first by default, the second at full scale.
pub(crate) fn scaled<T>(default: T, full: T) -> T {
    match std::env::var(VARIABLE) {
        Ok(value) if value == "full" => full,
        _ => default,
    }
}
