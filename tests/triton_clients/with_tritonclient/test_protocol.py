"""The protos of the checkout say what those that tritonclient was made with say."""

from collections.abc import Iterator
from pathlib import Path

from google.protobuf.descriptor_pb2 import DescriptorProto, FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

BASELINE = Path(__file__).resolve().parents[3] / "protos" / "baseline.binpb"
"""What `buf breaking` holds protos/inference to."""

Facts = set[tuple[object, ...]]


def facts_of_message(message: DescriptorProto, name: str) -> Iterator[tuple[object, ...]]:
    """Yield every name with its number, and what kind of thing it is."""
    yield (name,)
    for field in message.field:
        kind = (field.type, field.type_name, field.label)
        oneof = message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""
        yield name, field.name, field.number, *kind, oneof
    for enum in message.enum_type:
        yield from ((name, enum.name, value.name, value.number) for value in enum.value)
    for nested in message.nested_type:
        yield from facts_of_message(nested, f"{name}.{nested.name}")


def facts(file: FileDescriptorProto) -> Facts:
    found: Facts = set()
    for message in file.message_type:
        found.update(facts_of_message(message, f"{file.package}.{message.name}"))
    for enum in file.enum_type:
        found.update((enum.name, value.name, value.number) for value in enum.value)
    for service in file.service:
        for method in service.method:
            ends = (method.input_type, method.output_type)
            streams = (method.client_streaming, method.server_streaming)
            found.add((service.name, method.name, *ends, *streams))
    return found


def test_every_name_and_number_is_the_protocols() -> None:
    theirs: Facts = set()
    for module in (model_config_pb2, service_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        theirs |= facts(file)
    ours: Facts = set()
    for file in FileDescriptorSet.FromString(BASELINE.read_bytes()).file:
        if file.package == "inference":
            ours |= facts(file)

    assert len(theirs) > 400
    assert theirs - ours == set()
    assert ours - theirs == set()
