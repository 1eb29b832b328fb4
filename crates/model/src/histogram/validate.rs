//! Checks a histogram before it is stored: spans fit buckets, counts add up, bounds ascend.
