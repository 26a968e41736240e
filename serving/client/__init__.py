"""A light client of a model server: grpcio, protobuf and numpy."""
