"""Turns rows into items and cuts them into plan shards. Pure: touches neither network nor disk."""

from collections.abc import Callable, Iterable, Iterator

import msgspec

from posemill.catalogue.models import MODELS
from posemill.contract.identity import derived_seed, item_digest, picture_digest
from posemill.contract.keys import Stage
from posemill.contract.records import Item, Plan, RefusedRow, Run, ShardHeader, Source
from posemill.contract.rounds import needed_batches
from posemill.contract.stages import STAGES
from posemill.errors import RowError
from producer.recipes.prompts import combinations, fillings, parse_template
from producer.recipes.recipe import Recipe
from producer.sources.intake import PreparedRow
from producer.sources.rows import Row, text_of
from producer.submitting.recent import Recent

ITEMS_REMEMBERED = 200_000  # so many items back a repeated row is noticed
SOURCES_REMEMBERED = 100_000  # rows that name one of these again share its detection
REPEATS_SHOWN = 5  # places of rows that bring nothing new
CAPTION = "caption"  # a manifest's column that the plan keeps, for exports to train on


class Shard(msgspec.Struct, frozen=True, kw_only=True):
    """A finished slice of a stage's plan."""

    stage: Stage
    number: int
    header: ShardHeader
    rows: list[Source] | list[Item]


class Expander:
    """Makes a row's items: each prompt, each seed."""

    def __init__(self, recipe: Recipe, run: Run) -> None:
        self._recipe = recipe
        self._templates = [parse_template(prompt) for prompt in recipe.prompts]
        self._named = tuple(dict.fromkeys(name for template in self._templates for name in template.columns))
        self._kinds = run.kinds
        self._negative_prompt = negative_prompt(recipe)
        self._shared = picture_digest(run.detects, run.generate)

    def items(self, row: Row, source: Source, number: int | None) -> Iterator[Item]:
        """The row's items, one by one, each prompt and seed once.

        `number` is the source's in the detect plan, or None for a ready-made control image. Raises RowError, before the
        first item, when the row has no prompt, its prompt names a column that nobody has or whose value is no text, or
        it brings a pose or control image to a run that wants others.
        """
        self._require_usable(row)
        prompts = self._prompts(row)
        negative = row.negative_prompt if row.negative_prompt is not None else self._negative_prompt
        return (
            Item(
                id=item_digest(self._shared, source.identity, prompt, negative, seed),
                prompt=prompt,
                negative_prompt=negative,
                seed=seed,
                source_number=number,
                control_image=source if number is None else None,
                columns=columns,
            )
            for prompt, columns in prompts.items()
            for seed in self._seeds(row, source, prompt)
        )

    def wanted(self, row: Row) -> int:
        """How many items the row asks for, repeated ones too; it is one that `items` took."""
        seeds = self._recipe.seeds
        images = 1 if row.seed is not None else seeds if isinstance(seeds, int) else len(seeds)
        if row.prompt is not None:
            return images
        matrix = {name: values for name, values in self._recipe.matrix.items() if name not in row.columns}
        return images * combinations(self._templates, matrix)

    def _require_usable(self, row: Row) -> None:
        if row.control_image and len(self._kinds) > 1:
            raise RowError(f"one control_image cannot be {' and '.join(self._kinds)}; give a source", place=row.place)
        if row.source and row.source.pose is not None and self._kinds != ("openpose",):
            raise RowError(f"a pose cannot become {' and '.join(self._kinds)}; give a source", place=row.place)

    def _prompts(self, row: Row) -> dict[str, dict[str, str]]:
        """Each prompt once, with what the plan keeps of the columns: those it names, and the caption."""
        caption = _texts(row, (CAPTION,))
        if row.prompt is not None:
            return {row.prompt: caption}  # taken literally, braces and all
        if not self._templates:
            raise RowError("no prompt: give the recipe prompts, or the row a prompt column", place=row.place)
        texts = _texts(row, self._named)
        for name in self._named:
            if name not in texts and name not in self._recipe.matrix:
                message = f"the prompt names {{{name}}}, which neither the row nor the matrix has"
                raise RowError(message, place=f"{row.place}, column {name}")
        prompts: dict[str, dict[str, str]] = {}
        for prompt, columns in fillings(self._templates, self._recipe.matrix, texts):
            prompts.setdefault(prompt, columns | caption)
        return prompts

    def _seeds(self, row: Row, source: Source, prompt: str) -> Iterable[int]:
        seeds = self._recipe.seeds
        if row.seed is not None:
            return [row.seed]
        if isinstance(seeds, list):
            return dict.fromkeys(seeds)
        return (derived_seed(self._recipe.seed, source.identity, prompt, index) for index in range(seeds))


def _texts(row: Row, names: Iterable[str]) -> dict[str, str]:
    """The row's values of these columns, as texts. Raises RowError for one that is none."""
    return {name: text_of(row.columns[name], f"{row.place}, column {name}") for name in names if name in row.columns}


def negative_prompt(recipe: Recipe) -> str:
    """The recipe's own; the model's where the recipe says nothing."""
    wanted = recipe.generate
    named = MODELS.get(wanted.model or "")
    given = "negative_prompt" in wanted.model_fields_set
    return wanted.negative_prompt if given or named is None else named.negative_prompt


class Planner:
    """Numbers sources and items in the order in which they come and gives out shards as they fill."""

    def __init__(self, run: Run) -> None:
        self._slicing = run.slicing
        self._sources: list[Source] = []  # not cut into a shard yet
        self._items: list[Item] = []
        self._cut = dict.fromkeys((Stage.DETECT, Stage.GENERATE), 0)  # rows already cut
        self._known_sources = Recent(SOURCES_REMEMBERED)
        self._known_items = Recent(ITEMS_REMEMBERED, numbers=True)
        self.refused = 0
        self.repeated_rows = self.repeated_items = 0
        self.first_repeated: list[str] = []  # places of rows

    def add_row(self, row: Row, source: Source, expander: Expander) -> Iterator[Shard]:
        """Plan the row's source and those of its items that are new; gives shards as they fill.

        An item that is planned already is counted and not planned again, as far back as is remembered. Raises RowError
        before anything is added.
        """
        known = None if row.control_image else self._known_sources.find(source.identity)
        number = self._next_source if known is None and not row.control_image else known
        items = expander.items(row, source, number)
        new_source = source if known is None and not row.control_image else None
        return self._add(row.place, items, new_source, expander.wanted(row))

    def _add(self, place: str, items: Iterator[Item], source: Source | None, wanted: int) -> Iterator[Shard]:
        """`source`: one that is not planned yet. `wanted`: items that the row asks for, repeated ones too."""
        added, full = 0, self._slicing[Stage.GENERATE].shard_size
        for item in items:
            short = _short(item)
            if self._known_items.find(short) is not None:
                continue
            if source and not added:
                self.add_source(source)
            added += 1
            self._items.append(item)
            self._known_items.add(short)
            if len(self._items) >= full:
                yield from self.shards()
        self.repeated_items += wanted - added
        if not added:
            self.repeated_rows += 1
            self.first_repeated += [place][: REPEATS_SHOWN - len(self.first_repeated)]

    @property
    def _next_source(self) -> int:
        """The number that the next source will have."""
        return self._cut[Stage.DETECT] + len(self._sources)

    def add_source(self, source: Source) -> int:
        """The number that the source has from now on."""
        self._sources.append(source)
        self._known_sources.add(source.identity)
        return self._next_source - 1

    def refuse(self, error: RowError) -> RefusedRow:
        """Count a row that cannot be used; gives what is written down of it."""
        self.refused += 1
        return RefusedRow(place=error.place, message=str(error))

    @property
    def has_shard(self) -> bool:
        """Whether a shard is full."""
        return (
            len(self._items) >= self._slicing[Stage.GENERATE].shard_size
            or len(self._sources) >= self._slicing[Stage.DETECT].shard_size
        )

    def shards(self, *, last: bool = False) -> Iterator[Shard]:
        """Shards that are full by now, and with `last` what is left over too."""
        detect, generate = self._slicing[Stage.DETECT], self._slicing[Stage.GENERATE]
        while len(self._sources) >= detect.shard_size or (last and self._sources):
            sources, self._sources = self._sources[: detect.shard_size], self._sources[detect.shard_size :]
            yield self._shard(Stage.DETECT, sources, [])
        while len(self._items) >= generate.shard_size or (last and self._items):
            items, self._items = self._items[: generate.shard_size], self._items[generate.shard_size :]
            yield self._shard(Stage.GENERATE, items, needed_batches(items, generate.batch_size, detect.batch_size))

    def plan(self) -> Plan:
        """The totals; meaningful once the last shard is cut."""
        rows = {stage: self._cut[STAGES[stage].planned_by] for stage in self._slicing}
        return Plan(
            rows=rows,
            batches={stage: self._slicing[stage].batches(number) for stage, number in rows.items()},
            refused_rows=self.refused,
            repeated_rows=self.repeated_rows,
            repeated_items=self.repeated_items,
        )

    def _shard(self, stage: Stage, rows: list[Source] | list[Item], needs: list[list[int]]) -> Shard:
        first = self._cut[stage]
        self._cut[stage] += len(rows)
        header = ShardHeader(first=first, rows=len(rows), needs=needs)
        return Shard(stage=stage, number=first // self._slicing[stage].shard_size, header=header, rows=rows)


def plan_rows(
    planner: Planner, expander: Expander, rows: Iterable[PreparedRow], refuse: Callable[[RefusedRow, RowError], None]
) -> Iterator[Shard]:
    """The plan's shards as rows fill them; `refuse` is told of each row that cannot be used."""
    for taken in rows:
        try:
            if taken.error or taken.source is None:
                raise taken.error or RowError("no source", place=taken.row.place)
            shards = planner.add_row(taken.row, taken.source, expander)
        except RowError as error:
            refuse(planner.refuse(error), error)
            continue
        yield from shards
        if planner.has_shard:
            yield from planner.shards()
    yield from planner.shards(last=True)


def _short(item: Item) -> int:
    """Half of the item's id: enough to tell those remembered apart."""
    return int(item.id[:16], 16)
