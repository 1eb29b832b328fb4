//! A store in memory, for tests of those who read and write through the seam.
