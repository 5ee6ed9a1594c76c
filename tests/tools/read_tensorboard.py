#!/usr/bin/env python3
"""Reads event files with TensorBoard's own reader: read_tensorboard.py DIR prints each curve's points, a line each,

    TAG STEP VALUE

in order of tags and steps, as TensorBoard would show them (what a later start made void is gone). Needs `pip install tensorboard`.

    read_tensorboard.py --golden

prints, as hexadecimal digits, the file that tests/unit/test_tensorboard.c expects, made with TensorBoard's messages and writer."""
import sys


def points(directory):
    from tensorboard.backend.event_processing import event_accumulator
    from tensorboard.util import tensor_util

    reader = event_accumulator.EventAccumulator(directory, size_guidance={event_accumulator.TENSORS: 0, event_accumulator.SCALARS: 0})
    reader.Reload()
    tags = reader.Tags()
    for tag in sorted(tags["scalars"] + tags["tensors"]):
        if tag in tags["scalars"]:
            found = [(e.step, e.value) for e in reader.Scalars(tag)]
        else:
            found = [(e.step, float(tensor_util.make_ndarray(e.tensor_proto))) for e in reader.Tensors(tag)]
        for step, value in found:
            print(tag, step, f"{value:.9g}")


def golden():
    import io

    from tensorboard.compat.proto import event_pb2, summary_pb2
    from tensorboard.summary.writer.record_writer import RecordWriter

    out = io.BytesIO()
    writer = RecordWriter(out)
    time = 1700000000.0
    value = summary_pb2.Summary.Value
    for event in (
        event_pb2.Event(wall_time=time, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=time, step=5, session_log=event_pb2.SessionLog(status=event_pb2.SessionLog.START)),
        event_pb2.Event(wall_time=time, step=5, summary=summary_pb2.Summary(value=[value(tag="train/loss", simple_value=2.5)])),
        event_pb2.Event(wall_time=time, step=300, summary=summary_pb2.Summary(value=[value(tag="eval/f1", simple_value=0)])),
    ):
        writer.write(event.SerializeToString())
    print(out.getvalue().hex())


if sys.argv[1] == "--golden":
    golden()
else:
    points(sys.argv[1])
