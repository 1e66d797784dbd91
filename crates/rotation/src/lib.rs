//! The rotation protocol: a pure transition function and the flow that runs it over ports.
