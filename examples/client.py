"""Ingest a file, search, stream an answer, check its citations: grpcio and server reflection, nothing generated.

    pip install grpcio grpcio-reflection
    python examples/client.py KEY_FILE FILE QUESTION [ADDRESS]
"""
import sys

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

key_file, path, question, address = (sys.argv[1:] + ["127.0.0.1:7420"])[:4]
channel = grpc.insecure_channel(address)
pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
who = [("authorization", "Bearer " + open(key_file).read().strip())]


def call(method, **fields):
    service, name = method.split("/")
    rpc = pool.FindServiceByName("ibid.v1." + service).FindMethodByName(name)
    kind = channel.unary_stream if rpc.server_streaming else channel.unary_unary
    reply = GetMessageClass(rpc.output_type).FromString
    stub = kind("/ibid.v1." + method, type(GetMessageClass(rpc.input_type)()).SerializeToString, reply)
    return stub(GetMessageClass(rpc.input_type)(**fields), metadata=who)


text = open(path, "rb").read()
header = {"collection": "default", "document_id": path, "wait_for": "STAGE_VECTOR"}
print("revision", call("DocumentService/PutDocument", header=header, content=text).result.revision)
for hit in call("SearchService/Search", question=question.encode(), settings={"top_k": 3}).hits:
    print(hit.rank, hit.document_id, hit.span.start_byte, hit.span.end_byte, " > ".join(hit.heading_path))
for event in call("AnswerService/Answer", question=question.encode()):
    if event.HasField("delta"):
        print(event.delta.text, end="", flush=True)
    elif event.HasField("citation") and event.citation.document_id == path:
        span = event.citation.source_span
        assert text[span.start_byte : span.end_byte] == event.citation.quote, "a citation that does not resolve"
print()
