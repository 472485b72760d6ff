//! Checked, zero-copy views of what stands on the wire; one file a protocol.
