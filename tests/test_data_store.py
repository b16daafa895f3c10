"""Datasets on disk: counted, verified, unpacked."""

from __future__ import annotations

import hashlib
import io
import json
import os
import urllib.request
import zipfile
from dataclasses import replace
from email.message import Message
from pathlib import Path

import pytest

from litesam_bench import data_store
from litesam_bench.data_store import Archive, Layout, Part
from litesam_bench.errors import DataError, UsageError

TINY = Layout(
    name="tiny",
    title="A tiny set",
    licence="CC0",
    page="https://tiny.example",
    parts=(
        Part(
            path="tiny/annotations/instances_val.json",
            expected={"images": 2, "annotations": 3, "crowd": 1, "files": 2},
            image_folders=("tiny", "other"),
        ),
        Part(path="tiny/val", pattern="*.jpg", expected={"files": 2}),
    ),
)

DOCUMENT = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"iscrowd": 0}, {"iscrowd": 1}, {}],
    "categories": [{"id": 1}],
}


def build(root: Path, document: object = DOCUMENT, files: tuple[str, ...] = ("1", "2")) -> None:
    (root / "tiny/annotations").mkdir(parents=True)
    (root / "tiny/annotations/instances_val.json").write_text(json.dumps(document))
    (root / "tiny/val").mkdir()
    for name in files:
        (root / f"tiny/val/{name}.jpg").touch()


class TestLookAndVerify:
    def test_complete(self, tmp_path: Path) -> None:
        build(tmp_path)
        assert data_store.state(TINY, data_store.look(TINY, tmp_path)) == "complete"
        annotations, images = data_store.verify(TINY, tmp_path)
        assert annotations.found == {"images": 2, "annotations": 3, "crowd": 1, "files": 2}
        assert images.found == {"files": 2}
        assert annotations.complete and images.complete

    def test_missing(self, tmp_path: Path) -> None:
        reports = data_store.verify(TINY, tmp_path)
        assert not any(report.present for report in reports)
        assert data_store.state(TINY, reports) == "missing"

    def test_an_image_that_is_listed_but_not_there(self, tmp_path: Path) -> None:
        build(tmp_path, files=("1", "3"))
        annotations, images = data_store.verify(TINY, tmp_path)
        assert annotations.found["files"] == 1 and not annotations.complete
        assert images.complete  # two files, one of them another: only the list tells
        assert data_store.state(TINY, [annotations, images]) == "partial"

    def test_a_subset(self, tmp_path: Path) -> None:
        build(tmp_path, {**DOCUMENT, "annotations": [{}]})
        annotations, _ = data_store.verify(TINY, tmp_path)
        assert annotations.found == {"images": 2, "annotations": 1, "crowd": 0, "files": 2}
        assert not annotations.complete

    def test_images_by_their_url(self, tmp_path: Path) -> None:
        images = [
            {"id": 1, "coco_url": "http://images.example/val/1.jpg"},
            {"id": 2, "coco_url": "http://images.example/train/9.jpg"},
        ]
        build(tmp_path, {**DOCUMENT, "images": images}, files=("1",))
        assert data_store.verify(TINY, tmp_path)[0].found["files"] == 1
        (tmp_path / "other/train").mkdir(parents=True)
        (tmp_path / "other/train/9.jpg").touch()
        assert data_store.verify(TINY, tmp_path)[0].found["files"] == 2

    @pytest.mark.parametrize("content", ["", "{", "[]", '{"images": []}', '{"images": 3}'])
    def test_not_an_annotation_file(self, tmp_path: Path, content: str) -> None:
        build(tmp_path)
        (tmp_path / "tiny/annotations/instances_val.json").write_text(content)
        with pytest.raises(DataError, match=r"instances_val\.json is not an annotation file"):
            data_store.verify(TINY, tmp_path)

    def test_official_counts(self) -> None:
        expected = {
            part.path: dict(part.expected) for layout in data_store.LAYOUTS for part in layout.parts
        }
        coco = expected["coco/annotations/instances_val2017.json"]
        assert (coco["images"], coco["annotations"], coco["crowd"]) == (5_000, 36_781, 446)
        lvis = expected["lvis/annotations/lvis_v1_val.json"]
        assert lvis["images"] == 19_809
        assert (lvis["annotations"], lvis["categories"]) == (244_707, 1_203)
        splits = [expected[f"bsds500/data/images/{s}"]["files"] for s in ("train", "val", "test")]
        assert splits == [200, 100, 200]

    def test_generated_data_are_built_in(self, tmp_path: Path) -> None:
        scenes = data_store.layouts().get("scenes")
        assert data_store.state(scenes, data_store.look(scenes, tmp_path)) == "built-in"

    @pytest.mark.data
    def test_real_bsds500_is_complete(self, data_root: Path) -> None:
        layout = data_store.layouts().get("bsds500")
        assert data_store.state(layout, data_store.verify(layout, data_root)) == "complete"


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return buffer.getvalue()


class Served:
    """An opener that answers every request with one payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.asked: list[str] = []

    def open(self, fullurl: urllib.request.Request, *, timeout: float) -> io.BytesIO:
        self.asked.append(fullurl.full_url)
        answer = io.BytesIO(self.payload)
        answer.status = 200  # type: ignore[attr-defined]
        answer.headers = Message()  # type: ignore[attr-defined]
        answer.headers["Content-Length"] = str(len(self.payload))  # type: ignore[attr-defined]
        return answer


class TestPull:
    JSON_ZIP = zipped(**{"annotations__instances_val.json": b"{}", "annotations__other.json": b"?"})

    def layout(self, payload: bytes) -> Layout:
        return replace(
            TINY,
            archives=(
                Archive(
                    url="https://tiny.example/annotations.zip",
                    member="annotations/instances_val.json",
                    target="tiny/annotations/instances_val.json",
                    sha256=hashlib.sha256(payload).hexdigest(),
                ),
            ),
        )

    def images(self, payload: bytes) -> Layout:
        archive = Archive(
            url="https://tiny.example/val.zip",
            member="val/",
            target="tiny/val/",
            sha256=hashlib.sha256(payload).hexdigest(),
        )
        return replace(TINY, image_archives=(archive,))

    def test_one_member_and_nothing_else(self, tmp_path: Path) -> None:
        opener = Served(self.JSON_ZIP)
        layout = self.layout(self.JSON_ZIP)
        written = data_store.pull(layout, tmp_path, opener=opener)
        assert written == [tmp_path / "tiny/annotations/instances_val.json"]
        assert files_below(tmp_path) == ["tiny/annotations/instances_val.json"]
        assert data_store.pull(layout, tmp_path, opener=opener) == []
        assert opener.asked == ["https://tiny.example/annotations.zip"]

    def test_a_folder_and_no_member_outside_it(self, tmp_path: Path) -> None:
        payload = zipped(
            **{
                "val__1.jpg": b"1",
                "val__2.jpg": b"2",
                "val__..__..__escaped.jpg": b"!",
                "val__deep__3.jpg": b"3",
                "train__4.jpg": b"4",
            }
        )
        root = tmp_path / "root"
        data_store.pull(self.images(payload), root, images=True, opener=Served(payload))
        assert files_below(tmp_path) == ["root/tiny/val/1.jpg", "root/tiny/val/2.jpg"]

    def test_wrong_hash(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="expected"):
            data_store.pull(self.layout(b"other"), tmp_path, opener=Served(self.JSON_ZIP))
        assert files_below(tmp_path) == []

    @pytest.mark.parametrize("payload", [b"not a zip", zipped(other=b"x"), b""])
    def test_not_the_official_archive(self, tmp_path: Path, payload: bytes) -> None:
        with pytest.raises(DataError, match="not the official archive"):
            data_store.pull(self.layout(payload), tmp_path, opener=Served(payload))
        assert not (tmp_path / "tiny/annotations/instances_val.json").exists()

    @pytest.mark.parametrize("name", ["scenes", "bsds500"])
    def test_nothing_to_pull(self, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match=f"{name} has no direct download"):
            data_store.pull(data_store.layouts().get(name), tmp_path, opener=Served(b""))

    def test_all_official_addresses_are_https(self) -> None:
        archives = [a for x in data_store.LAYOUTS for a in (*x.archives, *x.image_archives)]
        assert archives
        assert all(archive.url.startswith("https://") for archive in archives)


def files_below(root: Path) -> list[str]:
    return sorted(
        os.path.relpath(Path(folder) / name, root)
        for folder, _, names in os.walk(root)
        for name in names
    )
