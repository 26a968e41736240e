"""A light client of a model server: grpcio, protobuf and numpy."""

from serving.client.async_client import AsyncEmotionClient
from serving.client.connection import Tls
from serving.client.emotion_client import EmotionClient
from serving.client.many import Outcome

__all__ = ["AsyncEmotionClient", "EmotionClient", "Outcome", "Tls"]
