//! Message bus, mailboxes, worker pool and supervisor. Knows no agent.
