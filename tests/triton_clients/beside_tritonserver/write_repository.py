"""Writes a model repository for tritonserver whose model is described as Leyden describes its own.

    python write_repository.py LEYDEN-ADDRESS MODEL FOLDER

Two models, since Triton answers ModelInfer for a model only where it is not decoupled: one of the
same name, which is not, and one for streams, which is.
"""

import shutil
import sys
from pathlib import Path

import tritonclient.grpc as triton
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

DECOUPLED = "-stream"
MODEL_FILE = Path(__file__).with_name("model.py")


def main(address: str, model: str, folder: str) -> None:
    with triton.InferenceServerClient(address) as client:
        config = client.get_model_config(model).config
    for name, decoupled in ((model, False), (model + DECOUPLED, True)):
        ours = model_config_pb2.ModelConfig(
            name=name,
            backend="python",
            max_batch_size=config.max_batch_size,
            input=config.input,
            output=config.output,
        )
        ours.model_transaction_policy.decoupled = decoupled
        ours.instance_group.add(count=1, kind=model_config_pb2.ModelInstanceGroup.KIND_CPU)
        entry = Path(folder) / name
        (entry / "1").mkdir(parents=True)
        (entry / "config.pbtxt").write_text(text_format.MessageToString(ours), "utf-8")
        shutil.copy(MODEL_FILE, entry / "1")


if __name__ == "__main__":
    main(*sys.argv[1:])
