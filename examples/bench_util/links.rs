//! Parameters of two processes with idle links between them.

/// The links between two processes.
#[derive(Clone, Copy)]
pub(crate) struct Links {
    pub(crate) count: usize,
    /// Whether the endpoints run on an executor that the caller drives on one thread.
    pub(crate) own: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Listener,
    Dialer,
}

impl Role {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Role::Listener => "listener",
            Role::Dialer => "dialer",
        }
    }
}

impl Links {
    /// The argument that starts one of the two processes.
    pub(crate) fn member_arg(&self, role: Role) -> String {
        let executor = if self.own { "own" } else { "global" };
        format!("--member={}:{executor}:{}", role.name(), self.count)
    }

    /// Parses the value of that argument.
    pub(crate) fn parse_member(text: &str) -> Result<(Role, Links), &'static str> {
        let mut words = text.split(':');
        let role = match words.next() {
            Some("listener") => Role::Listener,
            Some("dialer") => Role::Dialer,
            _ => return Err("no such role"),
        };
        let own = words.next() == Some("own");
        let count = words.next().and_then(|count| count.parse().ok()).ok_or("no such number")?;
        Ok((role, Links { count, own }))
    }
}
