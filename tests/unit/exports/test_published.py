"""What is exported for others names no worker, no clock and no address, unless provenance is asked for."""

from pathlib import Path

import msgspec
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posemill.contract.keys import Stage
from posemill.contract.records import BatchRecord, Run, decode, encode
from producer.exports.exporting import Exporter
from producer.exports.samples.columns import FROM_RECORDS
from producer.exports.samples.options import Form, Options
from producer.exports.samples.published import PROVENANCE, published_name, published_run, published_values
from producer.exports.writing.destinations import FolderDestination
from tests.synthetic_run import RUN_ID, SINGLE_FORMS, SyntheticStore, digests, item_id, synthetic_run

NAMES_THE_RUN = {"posemill.json", "index.json"}
HOST, CLOCK, KEY = "secret-host", "2099-12-31", f"runs/{RUN_ID}/"


class Elsewhere(SyntheticStore):
    """The same run by other workers, at another time, in other tries."""

    def get(self, key: str) -> bytes:
        content = super().get(key)
        if "/records/" not in key:
            return content
        record = decode(content, BatchRecord)
        changed = msgspec.structs.replace(
            record,
            worker=f"{HOST}:{record.batch}",
            attempt=3,
            finished_at=f"{CLOCK}T00:00:00+00:00",
            results=[
                *(msgspec.structs.replace(item, seconds=item.seconds * 7, batch_size=1) for item in record.items),
                *(msgspec.structs.replace(source, seconds=9.0) for source in record.sources),
            ],
        )
        return encode(changed)


def export(store: SyntheticStore, folder: Path, form: Form, **choices: object) -> dict[str, str]:
    exporter = Exporter(store, RUN_ID, FolderDestination(folder), Options(form=form, shard_size=8, **choices))
    exporter.commit(exporter.export())
    return {name: found for name, found in digests(folder).items() if name not in NAMES_THE_RUN}


def everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", SINGLE_FORMS)
def test_other_workers_at_another_time_export_the_same_bytes(form: Form, tmp_path: Path) -> None:
    calm, other = (export(kind(40), tmp_path / kind.__name__, form) for kind in (SyntheticStore, Elsewhere))
    assert calm == other
    assert len([name for name in calm if name.startswith("train/")]) >= 1


@pytest.mark.parametrize("form", [Form.WEBDATASET, Form.IMAGEFOLDER])
def test_workers_clocks_and_keys_are_there_only_when_asked_for(form: Form, tmp_path: Path) -> None:
    secrets = (HOST.encode(), CLOCK.encode(), KEY.encode(), b"controls/")
    export(Elsewhere(40), tmp_path / "public", form)
    public = everything(tmp_path / "public")
    assert [secret for secret in secrets if secret in public] == []
    export(Elsewhere(40), tmp_path / "asked", form, with_provenance=True)
    asked = everything(tmp_path / "asked")
    assert [secret for secret in secrets if secret not in asked] == []


def test_a_refused_sample_names_no_key_unless_asked(tmp_path: Path) -> None:
    key = f"runs/{RUN_ID}/images/{item_id(3)[:2]}/{item_id(3)}.png"
    for provenance in (False, True):
        store = SyntheticStore(8)
        store.replaced[key] = b"another"
        export(store, tmp_path / str(provenance), Form.WEBDATASET, with_provenance=provenance)
        index = (tmp_path / str(provenance) / "index/train-00000.json").read_text()
        assert '"code": "changed"' in index
        assert (key in index) is provenance


def test_a_filter_may_name_what_the_export_leaves_out(tmp_path: Path) -> None:
    kept = export(SyntheticStore(40), tmp_path, Form.IMAGEFOLDER, where="seconds < 0.08 and worker == 'w:1'")
    lines = pyarrow.parquet.read_table(tmp_path / "train/metadata.parquet").to_pylist()
    assert kept
    assert 0 < len(lines) < 36
    assert not any("worker" in line for line in lines)


def test_what_is_left_out_are_columns_that_there_are() -> None:
    assert set(FROM_RECORDS) > PROVENANCE


@pytest.mark.parametrize(
    ("name", "sources", "shown"),
    [
        ("dancers/1.png", "photos/", "dancers/1.png"),
        ("s3://bucket/photos/dancers/1.png", "s3://bucket/photos", "dancers/1.png"),
        ("s3://bucket/photos/dancers/1.png", "s3://bucket/photos/", "dancers/1.png"),
        ("s3://bucket/photos/1.png", "rows.jsonl", "1.png"),
        ("https://user:pw@intranet.example/a/b.jpg?token=1#x", "", "b.jpg"),
        ("s3://bucket", "", "(an address)"),
        ("https://intranet.example/", "", "(an address)"),
        ("/srv/people/b.jpg", "", "b.jpg"),
        ("~/people/b.jpg", "", "b.jpg"),
        ("C:\\people\\b.jpg", "", "b.jpg"),
        ("embedded:/srv/models/mine", "", "mine"),
        ("embedded:embedded/controlnet", "", "embedded:embedded/controlnet"),
        ("runwayml/stable-diffusion-v1-5", "", "runwayml/stable-diffusion-v1-5"),
    ],
)
def test_of_an_address_only_what_names_the_thing_is_shown(name: str, sources: str, shown: str) -> None:
    assert published_name(name, sources) == shown


@given(
    scheme=st.sampled_from(["s3://", "https://", "gs://", "file:///", "/"]),
    host=st.from_regex(r"\A[a-z]{3,12}\.internal\Z"),
    folders=st.lists(st.from_regex(r"\A[a-z0-9]{1,8}\Z"), max_size=3),
)
def test_no_host_or_bucket_is_ever_shown(scheme: str, host: str, folders: list[str]) -> None:
    address = "/".join([f"{scheme}{host}", *folders, "picture.png"])
    nested = {"sources": address, "loras": [{"lora": address}], "prompts": ["/imagine a chef"]}
    assert host not in str(published_values(nested))
    assert published_values(nested)["prompts"] == ["/imagine a chef"]


def test_a_published_run_has_its_models_without_their_folders() -> None:
    run: Run = synthetic_run()
    local = msgspec.structs.replace(run, generate=msgspec.structs.replace(run.generate, base="/srv/models/mine"))
    assert published_run(local).generate.base == "mine"
    assert published_run(run) == run
    assert run.slicing[Stage.GENERATE] == published_run(local).slicing[Stage.GENERATE]
