"""What a run of ``predict`` has to do: which images, which files of each, and what is there already."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from distillfss.errors import UsageError
from distillfss.outputs import OUTPUTS, Output, OutputSettings, make_outputs
from distillfss.outputs.makers import Makers
from distillfss.outputs.records import Records
from distillfss.places import Address, Folder, ImageSource, Place, RemoteImage, find_images, open_place, shown


@dataclass(frozen=True)
class PlanSettings:
    """Everything about a run but its images; can be sent to another machine.

    Attributes
    ----------
    out
        Folder or address of the results.
    outputs
        Names of ``OUTPUTS``.
    class_names, coco_segmentation, instances, metres_per_pixel
        See ``OutputSettings``.
    model
        Fingerprint of the model; empty if it has none.
    """

    out: str
    outputs: tuple[str, ...]
    class_names: tuple[str, ...]
    coco_segmentation: str = "polygon"
    instances: str = "component"
    metres_per_pixel: float | None = None
    model: str = ""

    @property
    def names(self) -> list[str]:
        """The outputs asked for, each once, in the order of ``OUTPUTS``, which is that of ``make_outputs``."""
        return [name for name in OUTPUTS if name in self.outputs]

    @property
    def output_settings(self) -> OutputSettings:
        """What formats need to know of it."""
        return OutputSettings(self.class_names, self.coco_segmentation, self.instances, self.metres_per_pixel)

    def make_outputs(self) -> list[Output]:
        """The formats asked for."""
        return make_outputs(self.outputs, self.output_settings)


@dataclass(frozen=True)
class Job:
    """One image and the outputs wanted for it."""

    image: ImageSource
    wanted: tuple[Output, ...]

    @property
    def name(self) -> str:
        """File name of the image."""
        return self.image.name if isinstance(self.image, Path) else PurePosixPath(self.image.name).name

    @property
    def stem(self) -> str:
        """Name of the image without its suffix, which its files are named after."""
        return PurePosixPath(self.name).stem


class Plan:
    """The images that are left to do.

    Parameters
    ----------
    images
        As ``places.find_images`` takes them.
    overwrite
        Do everything, whatever is there.

    Raises
    ------
    UsageError
        Two images would get the same file, a file would land among the images, a file is there that is none of ours, or
        results are that another model made.
    """

    def __init__(
        self, settings: PlanSettings, images: str | Path | Iterable[str | Path], *, overwrite: bool = False
    ) -> None:
        self.settings = settings
        self.outputs = settings.make_outputs()
        found = find_images(images)
        jobs = [Job(image, tuple(self.outputs)) for image in found]
        self.total = len(jobs)
        self.place: Place = open_place(settings.out)
        self.names = settings.names
        self._refuse_collisions(jobs)
        self._refuse_inputs(jobs)
        self.records = Records(self.place, settings.class_names)
        self.records.load(forget=overwrite)
        makers = Makers(self.place, shown(settings.out), settings.model)
        if not overwrite:
            makers.refuse_others()
            refuse_foreign_files(self.outputs, self.records, self.place)
            jobs = [Job(job.image, self._missing(job)) for job in jobs]
        self.todo = [job for job in jobs if job.wanted]
        self.place.make_folders(self._folders())
        if self.todo:
            makers.claim(self.names)

    def name_of(self, output: Output) -> str:
        """The name an output is asked for with."""
        return next(name for name in self.names if type(output) is OUTPUTS[name])

    def collect(self) -> dict[str, int]:
        """Write the files about all images where there is something new in them.

        Returns
        -------
        dict
            Files written, by name of the output.
        """
        written: dict[str, int] = {}
        for name, output in zip(self.names, self.outputs, strict=True):
            records = self.records.of(output.record_key) if output.record_key else {}
            for file, data in output.collect(records).items():
                if not self.place.exists(file) or self.place.read(file) != data:
                    self.place.write(file, data)
                    written[name] = written.get(name, 0) + 1
        self.records.compact()
        return written

    def _missing(self, job: Job) -> tuple[Output, ...]:
        return tuple(output for output in job.wanted if not self._is_done(job, output))

    def _is_done(self, job: Job, output: Output) -> bool:
        target, key = output.target(job.stem), output.record_key
        written = target is None or self.place.exists(target)
        return written and (key is None or self.records.has(job.name, key))

    def _folders(self) -> list[str]:
        files = [target for job in self.todo for output in job.wanted if (target := output.target(job.stem))]
        files += [file for output in self.outputs for file in output.shared_files()]
        return sorted({posixpath.dirname(file) for file in files})

    def _refuse_collisions(self, jobs: Sequence[Job]) -> None:
        """Two images must not share a file, not even on a file system that ignores case."""
        seen: dict[str, Job] = {}
        for job in jobs:
            other = seen.setdefault(job.stem.casefold(), job)
            if other is not job:
                raise UsageError(
                    f"{other.name} and {job.name} would both get the mask {job.stem}.png",
                    cure="Rename one of them or predict them into different folders",
                    path=job.image if isinstance(job.image, Path) else None,
                )

    def _refuse_inputs(self, jobs: Sequence[Job]) -> None:
        """Nothing is written into a folder the images are in: one could be replaced, or a mask be taken for one."""
        files = {target for job in jobs for output in job.wanted if (target := output.target(job.stem))}
        folders = {posixpath.dirname(file) for file in files}
        folders |= {posixpath.dirname(file) for output in self.outputs for file in output.shared_files()}
        taken: list[str] = []
        if isinstance(self.place, Folder):
            sources = {job.image.parent.resolve() for job in jobs if isinstance(job.image, Path)}
            inside = [self.place.path / folder for folder in sorted(folders)]
            taken = [str(folder) for folder in inside if folder.resolve() in sources]
        elif isinstance(self.place, Address):
            addresses = {str(job.image).rpartition("/")[0] for job in jobs if isinstance(job.image, RemoteImage)}
            inside_address = [str(RemoteImage(self.place.url, f"{folder}/x".lstrip("/"))) for folder in sorted(folders)]
            taken = [name.rpartition("/")[0] for name in inside_address if name.rpartition("/")[0] in addresses]
        if taken:
            raise UsageError(f"{taken[0]}: the images are in this folder", cure="Choose another one for the masks")


def refuse_foreign_files(outputs: Sequence[Output], records: Records, place: Place) -> None:
    """A file about all images that nothing remembers making is somebody else's work; raises ``UsageError``."""
    for output in outputs:
        for file in output.shared_files():
            if output.record_key and not records.any and place.exists(file):
                raise UsageError(
                    f"{file} is there already, and was not made from anything in that folder",
                    cure="Choose another folder, or add --overwrite",
                )
