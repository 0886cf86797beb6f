//! HNSW graphs and exact SIMD scan over one partition's vectors.
