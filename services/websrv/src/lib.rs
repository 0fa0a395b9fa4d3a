//! HTTPS front: Connect, gRPC, gRPC-Web and REST over one generic gateway.
