//! Series that each scrape reports about itself.
