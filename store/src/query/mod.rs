//! Questions, and how they are answered: filter, plan, scan, partial, merge.
