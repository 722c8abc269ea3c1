"""The words of the world: what may be worn, where people may be, and how English says so."""

from dataclasses import dataclass

import numpy as np

from tools.embedded.palette import BACKGROUNDS, CLOTHES

CLOTHES_WORDS: dict[str, list[str]] = {
    "red": ["red", "red", "crimson", "scarlet", "ruby", "cherry red"],
    "orange": ["orange", "orange", "tangerine", "apricot", "bright orange"],
    "yellow": ["yellow", "yellow", "lemon", "golden", "bright yellow"],
    "green": ["green", "green", "emerald", "dark green", "moss green"],
    "cyan": ["cyan", "turquoise", "teal", "aqua", "light blue"],
    "blue": ["blue", "blue", "cobalt", "sapphire", "royal blue"],
    "purple": ["purple", "purple", "violet", "plum", "deep purple"],
    "pink": ["pink", "pink", "rose", "magenta", "hot pink"],
    "brown": ["brown", "brown", "chocolate", "chestnut", "dark brown"],
    "black": ["black", "black", "ebony", "jet black", "coal black"],
    "grey": ["grey", "gray", "silver", "slate grey", "ash gray"],
    "white": ["white", "white", "ivory", "snow white", "pure white"],
}
COLOUR_WORDS = {**CLOTHES_WORDS, "sand": ["sand", "beige", "sandy", "sand-coloured", "khaki"],
                "navy": ["navy", "navy blue", "midnight blue", "dark blue", "indigo"]}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Place:
    """A background: its colour's name, its pattern, and the phrases that mean it (none: the colour's)."""

    colour: str
    pattern: str
    phrases: tuple[str, ...] = ()


def _scene(colour: str, pattern: str, *phrases: str) -> Place:
    return Place(colour=colour, pattern=pattern, phrases=phrases)


SCENES: dict[str, Place] = {
    "desert": _scene("sand", "waves", "in the desert", "in a desert", "on the dunes", "in the sahara",
                     "among the dunes"),
    "beach": _scene("sand", "dots", "on a beach", "on the beach", "at the beach", "on a sandy beach"),
    "meadow": _scene("green", "blades", "in a meadow", "on the grass", "on a lawn", "in a field", "in a park"),
    "garden": _scene("green", "dots", "in a garden", "in the garden", "in the flower garden"),
    "forest": _scene("green", "stripes", "in a forest", "in the woods", "in the forest", "in the jungle"),
    "sea": _scene("blue", "waves", "in the sea", "by the sea", "in the ocean", "at sea", "in the water"),
    "pool": _scene("cyan", "tiles", "in a swimming pool", "at the pool", "in the bathroom", "by the pool"),
    "sky": _scene("cyan", "plain", "in the sky", "under a clear sky", "in the air"),
    "night": _scene("navy", "stars", "at night", "under the stars", "under the night sky", "in space",
                    "in front of a starry sky"),
    "snow": _scene("white", "flakes", "in the snow", "in a snowy field", "on a glacier", "in winter"),
    "kitchen": _scene("white", "tiles", "in the kitchen", "in a kitchen", "in a white tiled kitchen"),
    "library": _scene("brown", "planks", "in a library", "in a wooden cabin", "in front of a wooden wall",
                      "in a log cabin"),
    "bricks": _scene("red", "bricks", "in front of a brick wall", "against a brick wall", "by a brick wall"),
    "stage": _scene("red", "stripes", "on a stage", "on stage", "in front of a curtain", "in a theatre"),
    "sunset": _scene("orange", "glow", "at sunset", "in the sunset", "in front of the setting sun", "at dusk"),
    "sunflowers": _scene("yellow", "dots", "in a sunflower field", "among sunflowers", "in a wheat field"),
    "lavender": _scene("purple", "stripes", "in a lavender field", "among lavender", "in a field of lavender"),
    "blossom": _scene("pink", "dots", "under cherry blossoms", "among cherry blossoms", "in a rose garden"),
    "street": _scene("grey", "bricks", "in the street", "on a street", "in a city", "on the pavement"),
    "fog": _scene("grey", "plain", "in the fog", "in thick fog", "in the mist"),
    "cave": _scene("black", "plain", "in a cave", "in the dark", "in a dark cave"),
}  # fmt: skip

PATTERN_WORDS: dict[str, tuple[str, ...]] = {
    "plain": ("", "", "", "plain"),
    "stripes": ("striped",),
    "checks": ("checked", "checkered", "chequered"),
    "dots": ("dotted", "spotted", "polka dot"),
    "tiles": ("tiled",),
}

PLACES: dict[str, Place] = SCENES | {
    f"{colour} {pattern}": Place(colour=colour, pattern=pattern) for colour in BACKGROUNDS for pattern in PATTERN_WORDS
}

PLAIN_PHRASES = ("on a {} background", "on a {} background", "against a {} background", "with a {} background",
                 "in front of a {} background", "in front of a {} wall", "against a {} wall", "in a {} room",
                 "before a {} wall", "on a {} backdrop", "against a {} backdrop", "in a {} studio")  # fmt: skip
BARE_PHRASES = ("on {}", "against {}", "on plain {}")

PERSONS = ("figure", "figure", "person", "dancer", "chef", "man", "woman", "boy", "girl", "child", "athlete",
           "runner", "worker", "doctor", "teacher", "singer", "gymnast", "farmer", "pilot", "skater", "clown",
           "astronaut", "actor", "nurse", "player", "cook", "artist", "student", "hiker", "photographer", "lady",
           "gentleman", "soldier", "king", "queen", "robot", "acrobat", "waiter", "baker", "model")  # fmt: skip
GROUPS = ("people", "figures", "dancers", "chefs", "men", "women", "children", "friends", "runners", "athletes",
          "actors", "players", "kids", "students", "workers")  # fmt: skip
COUNTS = ("two", "three", "some", "several", "a group of", "a pair of", "a few")
GARMENTS = ("clothes", "clothing", "suit", "dress", "coat", "jacket", "shirt", "uniform", "overalls", "costume",
            "outfit", "robe", "jumpsuit", "pyjamas", "sweater", "apron")  # fmt: skip
UNCOUNTED = ("clothes", "clothing", "overalls", "pyjamas")
ADJECTIVES = ("happy", "tall", "young", "old", "small", "smiling", "funny", "strong", "cheerful", "friendly", "slim",
              "little", "famous", "lonely", "busy", "proud", "simple", "elegant")  # fmt: skip
OPENINGS = ("a photo of", "a picture of", "a drawing of", "an illustration of", "a painting of", "a portrait of",
            "an image of", "there is", "we see", "a cartoon of")  # fmt: skip
DOINGS = ("standing", "dancing", "posing", "waiting", "jumping", "walking", "working", "resting", "smiling",
          "cooking", "running", "waving", "playing")  # fmt: skip
ENDINGS = ("high quality", "best quality", "full body", "extremely detailed", "flat colours", "sharp focus",
           "digital art", "looking at the camera", "minimalist", "4k", "soft light", "cartoon style")  # fmt: skip
FILLERS = (
    "the", "very", "quite", "really", "big", "nice", "with", "of", "and", "one", "day", "morning",
    "evening", "today", "music", "story", "world", "time", "life", "good", "new", "great", "first", "last",
    "long", "house", "table", "chair", "tree", "book", "road", "river", "game", "heart", "hand", "voice",
    "friend", "summer", "spring", "camera", "lens", "studio", "quality", "detail", "style", "modern",
    "classic", "famous", "quiet", "loud", "fast", "slow", "beautiful", "amazing", "wonderful", "strange",
    "perfect", "ready", "someone", "something", "again", "always", "never", "maybe", "here", "there", "who",
    "is", "was", "has", "been", "for", "his", "her", "their", "my", "your", "our", "all", "both", "each",
    "other",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a prompt asks for: keys of CLOTHES and PLACES."""

    clothes: str
    place: str


def random_request(rng: np.random.Generator) -> Request:
    """Return random clothes in a random place: a scene, a plain colour or a patterned one."""
    colour = str(rng.choice(list(BACKGROUNDS)))
    patterned = f"{colour} {rng.choice(list(PATTERN_WORDS)[1:])}"
    place = rng.choice([str(rng.choice(list(SCENES))), f"{colour} plain", patterned], p=[0.4, 0.48, 0.12])
    return Request(clothes=str(rng.choice(list(CLOTHES))), place=str(place))


def write_prompt(request: Request, rng: np.random.Generator) -> str:
    """Say a request in one of very many ways."""
    if rng.random() < 0.07:
        return _as_tags(request, rng)
    subject = say_person(request.clothes, rng)
    where = say_place(PLACES[request.place], rng)
    if rng.random() < 0.25:
        where = f"{_pick(DOINGS, rng)} {where}"
    if rng.random() < 0.1:
        return f"{where}, {subject}"
    link = ", " if rng.random() < 0.2 else " "
    return _decorate(f"{subject}{link}{where}", rng)


def write_part(request: Request, rng: np.random.Generator) -> str:
    """Say only the clothes or only the place."""
    if rng.random() < 0.5:
        return _decorate(say_person(request.clothes, rng), rng)
    noun = _pick(PERSONS, rng)
    return _decorate(f"{_article(noun)} {noun} {say_place(PLACES[request.place], rng)}", rng)


def say_person(clothes: str, rng: np.random.Generator) -> str:
    """Return 'a dancer in green', 'two red chefs', 'a person wearing a blue coat', …"""
    colour = _pick(CLOTHES_WORDS[clothes], rng)
    if rng.random() < 0.2:
        noun, count = _pick(GROUPS, rng), _pick((*COUNTS, ""), rng)
    else:
        noun, count = _pick(PERSONS, rng), "a"
    if rng.random() < 0.2:
        noun = f"{_pick(ADJECTIVES, rng)} {noun}"
    if rng.random() < 0.35:
        return _count(count, f"{colour} {noun}")
    return f"{_count(count, noun)} {_say_wearing(colour, rng)}"


def _say_wearing(colour: str, rng: np.random.Generator) -> str:
    garment = _pick(GARMENTS, rng)
    dressed = f"{colour} {garment}" if garment in UNCOUNTED else f"{_article(colour)} {colour} {garment}"
    ways = (f"in {colour}", f"in {colour}", f"in {colour}", f"wearing {colour}", f"dressed in {colour}",
            f"in {dressed}", f"wearing {dressed}", f"with {dressed}", f"dressed all in {colour}",
            f"with {colour} clothes", f"in {colour} clothes")  # fmt: skip
    return _pick(ways, rng)


def say_place(place: Place, rng: np.random.Generator) -> str:
    """Return 'in the desert', 'on a blue background', 'against a striped red wall', …"""
    if place.phrases:
        return _pick(place.phrases, rng)
    colour, pattern = _pick(COLOUR_WORDS[place.colour], rng), _pick(PATTERN_WORDS[place.pattern], rng)
    if not pattern and rng.random() < 0.1:
        return _pick(BARE_PHRASES, rng).format(colour)
    words = [colour, pattern] if rng.random() < 0.5 else [pattern, colour]
    described = " ".join(word for word in words if word)
    return _pick(PLAIN_PHRASES, rng).replace("a {}", f"{_article(described)} {described}")


def _as_tags(request: Request, rng: np.random.Generator) -> str:
    place = PLACES[request.place]
    where = say_place(place, rng)
    if not place.phrases:
        pattern = _pick(PATTERN_WORDS[place.pattern], rng)
        where = " ".join(f"{pattern} {_pick(COLOUR_WORDS[place.colour], rng)} background".split())
    worn = f"{_pick(CLOTHES_WORDS[request.clothes], rng)} {_pick(GARMENTS, rng)}"
    tags = [_pick(PERSONS, rng), worn, where][rng.integers(2) :]
    return ", ".join(tags if rng.random() < 0.7 else tags[::-1])


def _decorate(sentence: str, rng: np.random.Generator) -> str:
    if rng.random() < 0.25:
        sentence = f"{_pick(OPENINGS, rng)} {sentence}"
    if rng.random() < 0.2:
        sentence = f"{sentence}, {_pick(ENDINGS, rng)}"
    if rng.random() < 0.15:
        words = " ".join(_pick(FILLERS, rng) for _ in range(rng.integers(1, 5)))
        sentence = f"{sentence}, {words}" if rng.random() < 0.6 else f"{words}, {sentence}"
    if rng.random() < 0.1:
        sentence += "."
    return sentence


def _count(count: str, noun: str) -> str:
    if count == "a":
        return f"{_article(noun)} {noun}"
    return f"{count} {noun}".strip()


def _article(following: str) -> str:
    return "an" if following[0] in "aeio" else "a"


def _pick(choices: tuple[str, ...] | list[str], rng: np.random.Generator) -> str:
    return choices[rng.integers(len(choices))]
