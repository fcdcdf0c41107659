"""Make stimuli/minimal_pairs.csv: grammatical sentences, each with an ungrammatical twin.

    python stimuli/make_minimal_pairs.py            # write the CSV
    python stimuli/make_minimal_pairs.py --check    # exit 1 if the CSV differs

60 pairs a paradigm. A paradigm is a function that returns one sentence with its difference in
brackets, the good side first: "the baker [has|have] gone". It gets the number of the pair, by which
it balances its halves, and a seeded source of words of its own: no paradigm changes another. Words
come from shuffled lists that are used up before a word comes again.
"""

import argparse
import csv
import io
import random
import re
import sys
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

SEED = 0
N = 60
PATH = Path(__file__).parent / "minimal_pairs.csv"
FIELDS = ("UID", "linguistics_term", "field", "sentence_good", "sentence_bad")
T = TypeVar("T")


def words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.strip().splitlines())


class Task(NamedTuple):
    verb: str
    thing: str


def verbs_with_things(text: str) -> tuple[Task, ...]:
    rows = [line.split() for line in lines(text)]
    return tuple(Task(verb, thing) for verb, *things in rows for thing in things)


PEOPLE = words(
    "baker teacher doctor farmer lawyer student pilot gardener singer plumber dancer painter "
    "tailor sailor visitor manager driver nurse librarian carpenter engineer reporter tourist "
    "writer barber clerk butcher scientist musician soldier dentist"
)
WOMEN = words(
    "mother sister aunt grandmother daughter queen actress girl princess niece duchess waitress "
    "bride woman"
)
MEN = words(
    "father brother uncle grandfather son king boy prince nephew duke monk man husband groom"
)
FEMALE_KIN = words("sister mother aunt daughter niece grandmother wife")
MALE_KIN = words("brother father uncle son nephew grandfather husband")
FEMALE_NAMES = words(
    "Mary Susan Anna Julia Emma Karen Helen Laura Maria Linda Sarah Alice Nancy Rachel Diana Sophie"
)
MALE_NAMES = words(
    "John Peter David Thomas Robert Paul Daniel Michael George Richard Henry William Steven James "
    "Edward Simon"
)
NAMES = FEMALE_NAMES + MALE_NAMES
GENDERS = (
    (FEMALE_NAMES, WOMEN, FEMALE_KIN, "herself"),
    (MALE_NAMES, MEN, MALE_KIN, "himself"),
)

TASKS = verbs_with_things(
    """
    repair lamp roof fence clock bicycle
    borrow ladder umbrella camera bicycle
    find coin map necklace wallet
    buy piano carpet camera lamp
    describe castle statue painting island
    carry ladder suitcase basket barrel
    remove carpet poster curtain mirror
    damage fence piano engine statue
    destroy tower shed tent letter
    admire painting garden castle vase
    receive parcel letter medal ticket
    wear jacket scarf necklace hat
    make basket cake blanket poster
    bring cake blanket guitar camera
    mention hotel novel garden museum
    fix radio engine clock heater
    discover cave tunnel island coin
    use ladder hammer telescope map
    fetch bucket blanket hammer umbrella
    recommend hotel film novel museum
    abandon ship cottage tent garden
    construct bridge tower shed cottage
    restore statue painting chapel castle
    replace roof heater mirror carpet
    misplace wallet ticket hammer hat
    """
)
VERBS_OF: dict[str, list[str]] = defaultdict(list)
THINGS_OF: dict[str, list[str]] = defaultdict(list)
for _task in TASKS:
    VERBS_OF[_task.thing].append(_task.verb)
    THINGS_OF[_task.verb].append(_task.thing)
SHARED_THINGS = tuple(thing for thing, verbs in VERBS_OF.items() if len(verbs) > 1)
TASK_VERBS = tuple(verb for verb in THINGS_OF if verb not in words("use borrow buy"))
PLANNED_TASKS = tuple(
    task for task in TASKS if task.verb not in words("find discover receive misplace admire")
)
TOUGH_TASKS = tuple(
    task
    for task in TASKS
    if task.verb
    in words("repair find carry describe remove make fix use replace restore construct")
)
PARTICIPLE_TASKS = verbs_with_things(
    """
    write letter poem report
    break vase cup window
    eat apple cake sandwich
    see castle parade film
    drive truck bus tractor
    take photograph key map
    steal wallet necklace bicycle
    choose carpet hat present
    wear jacket scarf uniform
    draw map horse tree
    throw ball stone rope
    freeze soup fish pie
    tear shirt curtain poster
    shake bottle rug tree
    fly kite plane balloon
    ride horse bicycle camel
    blow whistle trumpet horn
    """
)
SOCIAL_VERBS = words(
    "admire thank help visit greet praise trust blame follow remember ignore surprise hug "
    "interview recognize invite warn rescue respect annoy encourage photograph criticize defend"
)
SOLO_VERBS = words(
    "smile laugh sleep sneeze arrive vanish sigh yawn giggle faint disappear shiver cough blush "
    "kneel frown wait listen complain apologize hesitate"
)
HABITS = lines(
    """
    live near the station
    work in the garden
    sleep until noon
    travel by train
    walk to the market
    sing in the choir
    swim in the lake
    play the piano
    speak two languages
    collect old coins
    drink green tea
    read the newspaper
    sit by the window
    cook on Sundays
    paint small portraits
    ride a bicycle
    grow tomatoes
    bake fresh bread
    tell long stories
    write short poems
    arrive before dawn
    wear red boots
    drive an old car
    know the mayor
    laugh at every joke
    complain about the noise
    like cold weather
    keep bees
    """
)
ACTIVITIES = tuple(
    habit
    for habit in HABITS
    if habit.split()[0] not in words("live sleep know like keep arrive speak collect")
)
ABILITIES = words("swim dance sing drive cook ski skate juggle whistle sail")
STATES = words("tired hungry angry happy nervous busy famous rich lonely shy")
TIMES = lines(
    """
    last night
    on Monday
    after the concert
    during the meeting
    in the morning
    before lunch
    at the party
    last week
    yesterday
    in the evening
    after dinner
    on Friday
    during the storm
    last summer
    """
)
CALM_TIMES = tuple(time for time in TIMES if not re.search("party|meeting|concert|storm", time))
TIMES_OF_DAY = tuple(time for time in TIMES if re.match("in|before|after|during", time))
WHEN = (
    ("yesterday", "tomorrow"),
    *(
        (f"last {time}", f"next {time}")
        for time in words("week month year summer winter Friday Sunday weekend")
    ),
)
ADJECTIVES = words("old small large strange beautiful unusual impressive ordinary")
THING_PREDICATES = lines(
    """
    was very unusual
    surprised the guests
    looked rather strange
    seemed quite ordinary
    impressed the mayor
    delighted the children
    was rather small
    disappointed the crowd
    """
)
REFLEXIVES = lines(
    """
    hurt _ during the game
    saw _ in the mirror
    blamed _ for the mistake
    introduced _ to the guests
    asked _ a difficult question
    taught _ to swim
    prepared _ for the exam
    reminded _ of the promise
    described _ in the letter
    dried _ with a towel
    trusted _ completely
    defended _ in court
    praised _ in public
    criticized _ after the match
    photographed _ at the beach
    surprised _ with the answer
    calmed _ with music
    washed _ in the river
    forgave _ in the end
    warned _ about the ice
    protected _ from the rain
    entertained _ with songs
    """
)
BENEFITS = lines(
    """
    bought _ a new coat
    made _ a sandwich
    poured _ a cup of tea
    """
)
PLACED = tuple(
    (thing, place)
    for place, things in {
        "in the garden": "bench tree statue rabbit",
        "on the table": "plate cup candle spoon",
        "on the wall": "mirror clock poster painting",
        "in the drawer": "key coin pencil stamp",
        "on the roof": "cat pigeon ladder chimney",
        "in the harbor": "boat ship swan sailor",
        "in the barn": "horse cow tractor barrel",
        "under the bed": "shoe suitcase box sock",
        "on the shelf": "book vase bottle basket",
        "in the kitchen": "chair bucket stove cupboard",
        "at the station": "train tourist soldier taxi",
        "in the forest": "cabin bear pond wolf",
    }.items()
    for thing in things.split()
)

IRREGULAR_PLURALS = {
    "woman": "women",
    "man": "men",
    "child": "children",
    "mouse": "mice",
    "goose": "geese",
    "ox": "oxen",
    "policeman": "policemen",
    "fireman": "firemen",
    "snowman": "snowmen",
    "knife": "knives",
    "leaf": "leaves",
    "shelf": "shelves",
    "wolf": "wolves",
    "thief": "thieves",
    "loaf": "loaves",
    "calf": "calves",
    "scarf": "scarves",
    "wife": "wives",
    "tomato": "tomatoes",
    "potato": "potatoes",
}
IRREGULAR_VERBS = {
    base: (past, participle)
    for base, past, participle in map(
        words,
        lines(
            """
            find found found
            buy bought bought
            wear wore worn
            make made made
            bring brought brought
            write wrote written
            break broke broken
            eat ate eaten
            take took taken
            see saw seen
            drive drove driven
            steal stole stolen
            choose chose chosen
            draw drew drawn
            throw threw thrown
            freeze froze frozen
            tear tore torn
            shake shook shaken
            fly flew flown
            ride rode ridden
            blow blew blown
            sleep slept slept
            kneel knelt knelt
            """
        ),
    )
}
DOUBLED = words("hug swim sit")


def plural(noun: str) -> str:
    if noun in IRREGULAR_PLURALS:
        return IRREGULAR_PLURALS[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return noun + "es"
    return noun[:-1] + "ies" if re.search("[^aeiou]y$", noun) else noun + "s"


def third(verb: str) -> str:
    head, _, rest = verb.partition(" ")
    return f"{plural(head)} {rest}".strip()


def past(verb: str) -> str:
    if verb in IRREGULAR_VERBS:
        return IRREGULAR_VERBS[verb][0]
    if verb in DOUBLED:
        return verb + verb[-1] + "ed"
    if verb.endswith("e"):
        return verb + "d"
    return verb[:-1] + "ied" if re.search("[^aeiou]y$", verb) else verb + "ed"


def participle(verb: str) -> str:
    return IRREGULAR_VERBS[verb][1] if verb in IRREGULAR_VERBS else past(verb)


def gerund(verb: str) -> str:
    head, _, rest = verb.partition(" ")
    if head in DOUBLED:
        head += head[-1]
    elif head.endswith("e") and not head.endswith("ee"):
        head = head[:-1]
    return f"{head}ing {rest}".strip()


def a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeio' or noun.startswith('um') else 'a'} {noun}"


def swap(first: str, second: str, swapped: bool) -> str:
    return f"[{second}|{first}]" if swapped else f"[{first}|{second}]"


class Source:
    def __init__(self, uid: str):
        self.rng = random.Random(f"{SEED} {uid}")
        self.decks: dict[tuple[Any, ...], list[Any]] = defaultdict(list)

    def some(self, pool: tuple[T, ...], n: int) -> list[T]:
        deck = self.decks[pool]
        picked: list[T] = []
        while len(picked) < n:
            free = [item for item in deck if item not in picked]
            if not free:
                deck.extend(self.rng.sample(pool, len(pool)))
                continue
            deck.remove(free[0])
            picked.append(free[0])
        return picked

    def one(self, pool: tuple[T, ...]) -> T:
        return self.some(pool, 1)[0]


Paradigm = Callable[[Source, int], str]
PARADIGMS: list[tuple[str, str, Paradigm]] = []


def paradigm(term: str, field: str) -> Callable[[Paradigm], Paradigm]:
    def add(function: Paradigm) -> Paradigm:
        PARADIGMS.append((term, field, function))
        return function

    return add


# Subject-verb agreement


@paradigm("subject_verb_agreement", "morphology")
def subject_verb_agreement(s: Source, i: int) -> str:
    noun, habit = s.one(PEOPLE), s.one(HABITS)
    verb, _, rest = habit.partition(" ")
    subject = plural(noun) if i % 2 else noun
    return f"the {subject} {swap(third(verb), verb, i % 2 == 1)} {rest}"


PARTS = tuple(
    map(
        words,
        lines(
            """
            label on bottle
            handle of drawer
            picture on wall
            mirror behind door
            book on shelf
            lamp beside bed
            roof of cottage
            window of tower
            lid of box
            carpet under table
            clock above entrance
            poster near elevator
            statue in park
            plate on tray
            painting in hall
            bench beside pond
            gate in fence
            lock on trunk
            button on coat
            lantern outside tent
            """
        ),
    )
)
PART_PREDICATES = (
    ("is", "are", "missing"),
    ("is", "are", "dusty"),
    ("was", "were", "expensive"),
    ("was", "were", "dirty"),
    ("looks", "look", "very old"),
    ("looks", "look", "rather small"),
    ("seems", "seem", "quite new"),
    ("seems", "seem", "unusual"),
    ("needs", "need", "attention"),
    ("has", "have", "a strange color"),
)


@paradigm("subject_verb_agreement", "morphology")
def subject_verb_agreement_prepositional_attractor(s: Source, i: int) -> str:
    head, preposition, other = s.one(PARTS)
    singular_verb, plural_verb, rest = s.one(PART_PREDICATES)
    subject, attractor = (plural(head), other) if i % 2 else (head, plural(other))
    verb = swap(singular_verb, plural_verb, i % 2 == 1)
    return f"the {subject} {preposition} the {attractor} {verb} {rest}"


@paradigm("subject_verb_agreement", "morphology")
def subject_verb_agreement_relative_clause(s: Source, i: int) -> str:
    head, other = s.some(PEOPLE, 2)
    verb, _, rest = s.one(HABITS).partition(" ")
    social = past(s.one(SOCIAL_VERBS))
    subject, attractor = (plural(head), other) if i % 2 else (head, plural(other))
    clause = f"who {social} the {attractor}" if i % 4 < 2 else f"that the {attractor} {social}"
    return f"the {subject} {clause} {swap(third(verb), verb, i % 2 == 1)} {rest}"


@paradigm("subject_verb_agreement", "morphology")
def subject_verb_agreement_auxiliary(s: Source, i: int) -> str:
    noun, task = s.one((*PEOPLE, "child", "woman", "man", "policeman")), s.one(PLANNED_TASKS)
    subject = plural(noun) if i % 2 else noun
    thing = f"the {task.thing}"
    one, more, verb = (
        ("has", "have", participle(task.verb)),
        ("is", "are", gerund(task.verb)),
        ("was", "were", gerund(task.verb)),
        ("does", "do", f"not want to {task.verb}"),
    )[i // 2 % 4]
    return f"the {subject} {swap(one, more, i % 2 == 1)} {verb} {thing}"


@paradigm("subject_verb_agreement", "morphology")
def existential_there_agreement(s: Source, i: int) -> str:
    thing, place = s.one(PLACED)
    number = s.one(words("two three four several many some"))
    counted = f"{number} {plural(thing)}" if i % 2 else a(thing)
    one, more = (("is", "are"), ("was", "were"))[i // 2 % 2]
    return f"there {swap(one, more, i % 2 == 1)} {counted} {place}"


# Determiner-noun agreement

DETERMINERS = (("this", "these"), ("that", "those"))


@paradigm("determiner_noun_agreement", "morphology")
def determiner_noun_agreement(s: Source, i: int) -> str:
    name, task = s.one(NAMES), s.one(TASKS)
    determiner = DETERMINERS[i // 2 % 2][i % 2]
    noun = swap(task.thing, plural(task.thing), i % 2 == 1)
    return f"{name} {past(task.verb)} {determiner} {noun} {s.one(CALM_TIMES)}"


@paradigm("determiner_noun_agreement", "morphology")
def determiner_noun_agreement_adjective(s: Source, i: int) -> str:
    noun, task, adjective = s.one(PEOPLE), s.one(TASKS), s.one(ADJECTIVES)
    determiner = swap(*DETERMINERS[i // 2 % 2], i % 2 == 1)
    thing = plural(task.thing) if i % 2 else task.thing
    return f"the {noun} {past(task.verb)} {determiner} {adjective} {thing}"


@paradigm("determiner_noun_agreement", "morphology")
def determiner_noun_agreement_irregular(s: Source, i: int) -> str:
    name = s.one(NAMES)
    verb = s.one(
        lines(
            """
            saw
            noticed
            described
            photographed
            recognized
            remembered
            pointed at
            looked at
            talked about
            asked about
            painted
            """
        )
    )
    noun = s.one(
        words(
            "child woman man mouse goose ox policeman fireman snowman knife leaf shelf wolf thief "
            "loaf calf"
        )
    )
    determiner = DETERMINERS[i // 2 % 2][i % 2]
    return f"{name} {verb} {determiner} {swap(noun, plural(noun), i % 2 == 1)} {s.one(TIMES)}"


@paradigm("quantifiers", "morphology")
def quantifier_noun_number(s: Source, i: int) -> str:
    name, task = s.one(NAMES), s.one(TASKS)
    quantifier = (
        s.one(words("several both many all few most"))
        if i % 2
        else s.one(words("every each another"))
    )
    noun, verb = (s.one(PEOPLE), s.one(SOCIAL_VERBS)) if i % 4 < 2 else (task.thing, task.verb)
    number = swap(noun, plural(noun), i % 2 == 1)
    return f"{name} {past(verb)} {quantifier} {number} {s.one(CALM_TIMES)}"


# Anaphors


def reflexive(frame: str, good: str, bad: str) -> str:
    return frame.replace("_", f"[{good}|{bad}]")


@paradigm("anaphor_agreement", "morphology")
def anaphor_gender_agreement(s: Source, i: int) -> str:
    names, nouns, _, good = GENDERS[i % 2]
    bad = GENDERS[1 - i % 2][3]
    subject = s.one(names) if i % 4 < 2 else f"the {s.one(nouns)}"
    return f"{subject} {reflexive(s.one(REFLEXIVES + BENEFITS), good, bad)}"


@paradigm("anaphor_agreement", "morphology")
def anaphor_number_agreement(s: Source, i: int) -> str:
    nouns, one = GENDERS[i // 2 % 2][1], GENDERS[i // 2 % 2][3]
    noun = s.one(nouns)
    subject, good, bad = (plural(noun), "themselves", one) if i % 2 else (noun, one, "themselves")
    return f"the {subject} {reflexive(s.one(REFLEXIVES + BENEFITS), good, bad)}"


@paradigm("binding", "syntax_semantics")
def reflexive_not_bound_by_possessor(s: Source, i: int) -> str:
    names, _, _, bad = GENDERS[i % 2]
    _, _, kin, good = GENDERS[1 - i % 2]
    return f"{s.one(names)}'s {s.one(kin)} {reflexive(s.one(REFLEXIVES + BENEFITS), good, bad)}"


@paradigm("binding", "syntax_semantics")
def reflexive_bound_in_its_clause(s: Source, i: int) -> str:
    names, nouns, _, bad = GENDERS[i % 2]
    other_names, other_nouns, _, good = GENDERS[1 - i % 2]
    outer, inner = (
        (s.one(names), f"the {s.one(other_nouns)}")
        if i % 4 < 2
        else (f"the {s.one(nouns)}", s.one(other_names))
    )
    verb = s.one(words("said thought knew believed heard claimed noticed reported remembered"))
    return f"{outer} {verb} that {inner} {reflexive(s.one(REFLEXIVES + BENEFITS), good, bad)}"


@paradigm("binding", "syntax_semantics")
def reflexive_or_pronoun(s: Source, i: int) -> str:
    subject, pronoun, anaphor = (
        ("I", "me", "myself"),
        ("we", "us", "ourselves"),
        ("you", "you", "yourself"),
    )[i // 2 % 3]
    frame = s.one(REFLEXIVES)
    if i % 2:
        return f"{subject} {reflexive(frame, anaphor, pronoun)}"
    return f"the {s.one(PEOPLE)} {reflexive(frame, pronoun, anaphor)}"


@paradigm("binding", "syntax_semantics")
def reciprocal_antecedent(s: Source, i: int) -> str:
    some, other = s.some(PEOPLE, 2)
    preposition = s.one(("beside", "behind", "next to", "in front of", "near"))
    verb = past(
        s.one(words("thank help greet praise hug interview recognize encourage photograph"))
    )
    good, bad = (
        f"{plural(some)} {preposition} the {other}",
        f"{other} {preposition} the {plural(some)}",
    )
    return f"the [{good}|{bad}] {verb} each other {s.one(TIMES)}"


# Negative polarity


@paradigm("npi_licensing", "semantics")
def npi_ever(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(TASKS)
    many = i // 2 % 2 == 1
    quantifier = s.one(words("most some many all")) if many else s.one(words("every each one this"))
    subject, verb = (plural(noun), "have") if many else (noun, "has")
    rest = f"{participle(task.verb)} {a(task.thing)}"
    if i % 2:
        return f"{quantifier} {subject} {verb} [already|ever] {rest}"
    return f"[no|{quantifier}] {subject} {verb} ever {rest}"


@paradigm("npi_licensing", "semantics")
def npi_any(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(TASKS)
    adverb = s.one(words("recently finally once just soon eventually"))
    verb, things = past(task.verb), plural(task.thing)
    if i % 2:
        return f"the {noun} {adverb} {verb} [some|any] {things}"
    return f"the {noun} [{s.one(words('never rarely seldom'))}|{adverb}] {verb} any {things}"


@paradigm("npi_licensing", "semantics")
def npi_only_scope(s: Source, i: int) -> str:
    some, other = s.some(PEOPLE, 2)
    task, verb = s.one(TASKS), past(s.one(SOCIAL_VERBS))
    start = f"[only the {plural(some)} that the|the {plural(some)} that only the] {other} {verb}"
    return f"{start} have ever {participle(task.verb)} {a(task.thing)}"


@paradigm("npi_licensing", "semantics")
def npi_negation_scope(s: Source, i: int) -> str:
    some, other = s.some(PEOPLE, 2)
    task, verb = s.one(TASKS), past(s.one(SOCIAL_VERBS))
    subject = f"[no {some} who {verb} the|the {some} who {verb} no] {plural(other)}"
    return f"{subject} has ever {participle(task.verb)} {a(task.thing)}"


# Islands


@paradigm("island_effects", "syntax")
def wh_island(s: Source, i: int) -> str:
    name, noun, task = s.one(NAMES), s.one(PEOPLE), s.one(TASKS)
    verb = s.one(words("say guess hear explain report reveal"))
    island = s.one(words("why how where"))
    return f"what did {name} {verb} [that|{island}] the {noun} {past(task.verb)}?"


@paradigm("island_effects", "syntax")
def adjunct_island(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    thing = s.one(SHARED_THINGS)
    first, second = s.rng.sample(VERBS_OF[thing], 2)
    clause = f"{s.one(words('before after when'))} the {other} {past(second)}"
    return f"what did the {one} {first} [{clause} the {thing}|the {thing} {clause}]?"


@paradigm("island_effects", "syntax")
def complex_np_island(s: Source, i: int) -> str:
    name, noun, verb = s.one(NAMES), s.one(PEOPLE), s.one(TASK_VERBS)
    outer = s.one(words("notice remember hear know believe recall see"))
    return f"what did {name} {outer} [that the {noun}|the {noun} that] had {participle(verb)}?"


TOOL_USES = verbs_with_things(
    """
    cut bread rope cheese
    open bottle crate letter
    clean oven floor window
    paint fence door boat
    dig hole trench
    light candle lantern fire
    wash car dog blanket
    tie parcel knot
    stir soup paint
    peel apple potato
    decorate cake tree room
    cover boat table roof
    fill bucket bottle vase
    """
)
MEALS = tuple(
    (verb, food)
    for verb in words("serve eat cook order prepare buy")
    for food in words("soup fish rice salad bread cheese chicken")
)


@paradigm("island_effects", "syntax")
def coordinate_structure_island(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    if i % 3 == 0:
        tool = s.one(TOOL_USES)
        return f"what did the {one} {tool.verb} the {tool.thing} [with|and]?"
    if i % 3 == 1:
        verb, food = s.one(MEALS)
        return f"what did the {one} {verb} [with|and] the {food}?"
    first, second = s.some(TASK_VERBS, 2)
    solo = s.one(SOLO_VERBS)
    if i % 2:
        return f"what did the {one} [{first}|{solo}] and the {other} {second}?"
    return f"what did the {one} {first} and the {other} [{second}|{solo}]?"


@paradigm("island_effects", "syntax")
def left_branch_island(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(TASKS)
    asked, thing = (
        ("which", task.thing),
        ("whose", task.thing),
        ("how many", plural(task.thing)),
    )[i % 3]
    clause = f"did the {noun} {task.verb}"
    return f"{asked} [{thing} {clause}|{clause} {thing}]?"


# Argument structure


@paradigm("argument_structure", "syntax")
def transitive_verb(s: Source, i: int) -> str:
    noun, task, solo = s.one(PEOPLE), s.one(TASKS), s.one(SOLO_VERBS)
    return f"the {noun} [{past(task.verb)}|{past(solo)}] the {task.thing} {s.one(CALM_TIMES)}"


@paradigm("argument_structure", "syntax")
def intransitive_verb(s: Source, i: int) -> str:
    noun, verb, solo = s.one(PEOPLE), s.one(TASK_VERBS), s.one(SOLO_VERBS)
    return f"the {noun} [{past(solo)}|{past(verb)}] {s.one(TIMES)}"


CAUSATIVES = tuple(
    (good, bad, thing)
    for good, bad, *things in map(
        words,
        lines(
            """
            raised rose flag curtain anchor
            dropped fell box basket plate
            removed disappeared carpet sign poster
            brought came cake guitar ladder
            hid vanished letter ring key
            delivered arrived parcel piano cake
            sent went card letter parcel
            created existed garden statue website
            published appeared novel poem map
            found appeared ring wallet coin
            planned happened party wedding festival
            organized occurred concert parade meeting
            """
        ),
    )
    for thing in things
)


@paradigm("argument_structure", "syntax")
def causative_verb(s: Source, i: int) -> str:
    good, bad, thing = s.one(CAUSATIVES)
    return f"the {s.one(PEOPLE)} [{good}|{bad}] the {thing} {s.one(CALM_TIMES)}"


CHANGES = tuple(
    tuple(line.split())
    for line in lines(
        """
        ice melted
        door opened
        gate closed
        ship sank
        vase broke
        cup shattered
        pond froze
        shirt shrank
        soup cooled
        candle burned
        branch snapped
        bell rang
        balloon burst
        curtain ripped
        wheel turned
        engine stopped
        milk spilled
        towel dried
        rope snapped
        window cracked
        """
    )
)


@paradigm("argument_structure", "syntax")
def inchoative_verb(s: Source, i: int) -> str:
    noun, good = s.one(CHANGES)
    bad = s.one(
        words(
            "damaged destroyed replaced removed bought found described mentioned used noticed "
            "touched brought inspected admired"
        )
    )
    return f"the {noun} [{good}|{bad}] {s.one(CALM_TIMES)}"


DATIVES = tuple(
    (good, bad, thing)
    for good, bad, *things in map(
        words,
        lines(
            """
            told explained joke reason
            told described dream journey
            showed explained rule map
            showed described picture house
            taught explained game method
            read announced result list
            told mentioned problem rumor
            told revealed secret truth
            showed demonstrated trick machine
            offered proposed plan solution
            gave suggested answer idea
            gave donated money piano
            """
        ),
    )
    for thing in things
)


@paradigm("argument_structure", "syntax")
def dative_verb(s: Source, i: int) -> str:
    giver, receiver = s.some(PEOPLE, 2)
    good, bad, thing = s.one(DATIVES)
    people = f"the {plural(receiver)}"
    if i % 2:
        return f"the {giver} {bad} [the {thing} to {people}|{people} the {thing}]"
    return f"the {giver} [{good}|{bad}] {people} the {thing}"


@paradigm("argument_structure", "syntax")
def passive_verb(s: Source, i: int) -> str:
    noun, task, solo = s.one(PEOPLE), s.one(TASKS), s.one(SOLO_VERBS)
    thing, verb = (plural(task.thing), "were") if i % 2 else (task.thing, "was")
    return f"the {thing} {verb} [{participle(task.verb)}|{participle(solo)}] by the {noun}"


PREPOSITIONAL = tuple(
    (verb, preposition, transitive, thing)
    for verb, preposition, transitive, *things in map(
        words,
        lines(
            """
            listened to heard song radio
            looked at noticed painting clock
            talked about discussed plan film
            arrived at reached station hotel
            replied to answered letter question
            thought about considered idea offer
            waited for expected bus parcel
            complained about criticized food music
            objected to opposed plan idea
            relied on needed map ladder
            stared at watched parade bird
            apologized for regretted mistake noise
            insisted on demanded answer meeting
            hoped for wanted garden boat
            """
        ),
    )
    for thing in things
)


@paradigm("argument_structure", "syntax")
def prepositional_verb(s: Source, i: int) -> str:
    noun = s.one(PEOPLE)
    verb, preposition, transitive, thing = s.one(PREPOSITIONAL)
    if i % 2:
        return f"the {noun} {swap(verb, transitive, True)} the {thing} {s.one(CALM_TIMES)}"
    return (
        f"the {noun} {swap(verb, transitive, False)} {preposition} the {thing} {s.one(CALM_TIMES)}"
    )


# Selection


@paradigm("selection", "semantics")
def animate_argument(s: Source, i: int) -> str:
    person = s.one(PEOPLE)
    thing = s.one(
        words(
            "painting story poem song film letter map statue castle concert novel report speech "
            "book"
        )
    )
    verb = (
        s.one(
            words(
                "surprised amazed frightened bored annoyed pleased puzzled impressed delighted "
                "shocked amused disappointed"
            )
        )
        if i % 2
        else s.one(words("admired noticed enjoyed loved forgot liked hated disliked adored wanted"))
    )
    return f"the {swap(f'{person} {verb} the {thing}', f'{thing} {verb} the {person}', i % 2 == 1)}"


@paradigm("selection", "syntax_semantics")
def relative_pronoun_animacy(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    if i % 2:
        task = s.one(TASKS)
        clause = f"[which|who] the {one} {past(task.verb)}"
        return f"the {task.thing} {clause} {s.one(THING_PREDICATES)}"
    clause = f"[who|which] the {plural(other)} {past(s.one(SOCIAL_VERBS))}"
    return f"the {one} {clause} {third(s.one(HABITS))}"


GERUND_VERBS = words("enjoyed avoided kept admitted denied missed imagined considered")
INFINITIVE_VERBS = words("wanted decided hoped promised refused agreed offered pretended")


@paradigm("selection", "syntax")
def infinitive_or_gerund(s: Source, i: int) -> str:
    name, activity = s.one(NAMES), s.one(ACTIVITIES)
    verb = s.one(INFINITIVE_VERBS if i % 2 else GERUND_VERBS)
    return f"{name} {verb} {swap(gerund(activity), f'to {activity}', i % 2 == 1)}"


@paradigm("selection", "syntax")
def bare_infinitive(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    task = s.one(PLANNED_TASKS)
    bare = s.one(words("made let watched saw noticed"))
    full = s.one(words("forced allowed told invited encouraged persuaded"))
    to = "to " if i % 2 else ""
    thing = f"the {task.thing}"
    return f"the {one} {swap(bare, full, i % 2 == 1)} the {other} {to}{task.verb} {thing}"


# Filler-gap dependencies

FACT_VERBS = words("knew noticed forgot remembered revealed discovered learned heard saw mentioned")


@paradigm("filler_gap_dependency", "syntax")
def wh_or_that_with_gap(s: Source, i: int) -> str:
    name, noun, verb = s.one(NAMES), s.one(PEOPLE), s.one(TASK_VERBS)
    time = f" {s.one(TIMES)}" if i % 2 else ""
    return f"{name} {s.one(FACT_VERBS)} [what|that] the {noun} had {participle(verb)}{time}"


@paradigm("filler_gap_dependency", "syntax")
def wh_or_that_without_gap(s: Source, i: int) -> str:
    name, noun, task = s.one(NAMES), s.one(PEOPLE), s.one(TASKS)
    clause = f"the {noun} had {participle(task.verb)} the {task.thing}"
    time = f" {s.one(TIMES)}" if i % 2 else ""
    return f"{name} {s.one(FACT_VERBS)} [that|what] {clause}{time}"


@paradigm("filler_gap_dependency", "syntax")
def relative_clause_gap(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(TASKS)
    if i % 2:
        day = s.one(words("day morning evening summer winter afternoon"))
        portable = words("coin wallet ticket necklace scarf hammer bucket blanket medal mirror")
        wrong = s.one(tuple(thing for thing in portable if thing != task.thing))
        rest = s.one(("was unusual", "was very cold", "was beautiful", "seemed quite ordinary"))
        return f"the [{day}|{wrong}] that the {noun} {past(task.verb)} the {task.thing} {rest}"
    verb = f"[{past(task.verb)}|{past(s.one(SOLO_VERBS))}]"
    return f"the {task.thing} that the {noun} {verb} {s.one(THING_PREDICATES)}"


# Ellipsis


@paradigm("ellipsis", "syntax")
def noun_ellipsis(s: Source, i: int) -> str:
    one, other = s.some(NAMES, 2)
    task, adjective = s.one(TASKS), s.one(ADJECTIVES)
    first, second = s.one((("one", "two"), ("two", "three"), ("three", "one"), ("one", "several")))
    thing = task.thing if first == "one" else plural(task.thing)
    verb = past(task.verb)
    start, middle = f"{one} {verb} {first}", f"{thing} and {other} {verb} {second}"
    return f"{start} [{adjective} {middle}|{middle} {adjective}]"


@paradigm("ellipsis", "syntax")
def verb_phrase_ellipsis(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    task = s.one(PLANNED_TASKS)
    thing = f"the {task.thing}"
    if i % 2:
        auxiliary = ("did", "will", "could")[i // 2 % 3]
        negated = f"the {one} {auxiliary} not {task.verb} {thing}"
        return f"{negated}, and neither [{auxiliary} the {other}|the {other} {auxiliary}]"
    auxiliary, first, verb = (
        ("did", past(task.verb), past(task.verb)),
        ("has", f"has {participle(task.verb)}", participle(task.verb)),
        ("will", f"will {task.verb}", task.verb),
    )[i // 2 % 3]
    return f"the {one} {first} {thing}, and the {other} [{auxiliary}|{verb}] too"


# Quantifiers, count and mass nouns


@paradigm("quantifiers", "semantics")
def existential_there_quantifier(s: Source, i: int) -> str:
    thing, place = s.one(PLACED)
    many = i // 2 % 2 == 1
    noun, verb = (plural(thing), "are") if many else (thing, "is")
    if i % 2:
        strong = s.one(("most of the", "both")) if many else s.one(words("every each"))
        return f"[{strong} {noun} {verb}|there {verb} {strong} {noun}] {place}"
    strong = s.one(words("most both")) if many else s.one(words("every each"))
    weak = s.one(words("some many several two")) if many else s.one(words("a one another"))
    article = a(noun).split()[0] if weak == "a" else weak
    return f"there {verb} [{article}|{strong}] {noun} {place}"


MASS = words(
    "bread butter milk flour sugar rice salt honey cheese water meat pepper furniture luggage "
    "advice money equipment paper"
)
COUNT = words(
    "apple egg onion carrot tomato potato lemon sandwich chair lamp book coin bottle basket pencil "
    "ticket blanket bucket"
)


@paradigm("count_and_mass_nouns", "syntax_semantics")
def much_or_many(s: Source, i: int) -> str:
    noun, verb = s.one(PEOPLE), s.one(words("need want find get have"))
    thing = plural(s.one(COUNT)) if i % 2 else s.one(MASS)
    quantity = f"{swap('much', 'many', i % 2 == 1)} {thing}"
    if i % 4 < 2:
        return f"how {quantity} did the {noun} {verb} {s.one(TIMES)}?"
    return f"the {noun} did not {verb} {quantity} {s.one(TIMES)}"


@paradigm("count_and_mass_nouns", "syntax_semantics")
def little_or_few(s: Source, i: int) -> str:
    noun, verb = s.one(PEOPLE), s.one(words("needed wanted found got received requested"))
    thing = plural(s.one(COUNT)) if i % 2 else s.one(MASS)
    return f"the {noun} {verb} a {swap('little', 'few', i % 2 == 1)} {thing} {s.one(TIMES)}"


# Control and raising

WEATHER = lines(
    """
    rain in the north
    snow in the mountains
    get dark outside
    get colder
    drizzle after lunch
    hail in the valley
    get foggy near the coast
    get warmer in spring
    """
)
SITUATIONS = lines(
    """
    be a problem with the engine
    be a spider in the bath
    be a mistake in the report
    be several errors on the map
    be a crack in the wall
    be a mouse under the floor
    be a delay at the border
    be a leak in the roof
    """
)
ARRANGEMENTS = lines(
    """
    be enough food for everyone
    be a party next door
    be two doors in the hall
    be a garden behind the house
    be music at the wedding
    be a bridge across the river
    be flowers in every room
    be a library in the town
    be a parade on Sunday
    be a prize for the winner
    """
)
CONTROL_OBJECTS = tuple(
    (verb, thing)
    for verb, things in {
        "planned": ("a picnic", "a long journey", "a wedding"),
        "attempted": ("the climb", "a difficult jump", "the exam"),
        "demanded": ("the money", "an apology", "a new bicycle"),
        "requested": ("a cup of tea", "the menu", "a larger table"),
        "preferred": ("the soup", "the cheese", "the salad"),
        "proposed": ("a compromise", "a new method", "an early start"),
    }.items()
    for thing in things
)
CONTROL_VERBS = words("planned attempted demanded requested preferred proposed")


@paradigm("control_and_raising", "syntax_semantics")
def expletive_subject(s: Source, i: int) -> str:
    if i % 2:
        verb, thing = s.one(CONTROL_OBJECTS)
        bad = s.one(words("seemed appeared happened"))
        return f"the {s.one(PEOPLE)} [{verb}|{bad}] {thing}"
    bad = s.one(CONTROL_VERBS)
    if i % 4 == 0:
        return f"it [{s.one(words('seemed began started continued'))}|{bad}] to {s.one(WEATHER)}"
    return f"there [{s.one(words('seemed appeared happened'))}|{bad}] to {s.one(SITUATIONS)}"


@paradigm("control_and_raising", "syntax_semantics")
def expletive_object(s: Source, i: int) -> str:
    one, other = s.some(NAMES, 2)
    persuade = words("persuaded convinced told reminded warned")
    if i % 2:
        fact = s.one(
            lines(
                """
                the road was closed
                the train was late
                the shop had moved
                the water was cold
                the bridge was slippery
                the museum was closed
                the keys were missing
                the ice was thin
                the plan was risky
                the bill was wrong
                """
            )
        )
        verb = f"[{s.one(persuade)}|{s.one(words('expected wanted imagined needed'))}]"
        return f"{one} {verb} {other} that {fact}"
    verb = f"[{s.one(words('expected believed wanted imagined'))}|{s.one(persuade)}]"
    return f"{one} {verb} there to {s.one(ARRANGEMENTS)}"


@paradigm("control_and_raising", "syntax_semantics")
def tough_or_raising(s: Source, i: int) -> str:
    task = s.one(TOUGH_TASKS)
    tough = s.one(words("easy hard difficult impossible tough"))
    raising = s.one(words("likely certain sure bound unlikely"))
    if i % 2:
        return f"the {s.one(PEOPLE)} was [{raising}|{tough}] to {task.verb} the {task.thing}"
    return f"the {task.thing} was [{tough}|{raising}] to {task.verb}"


# Verb forms


@paradigm("irregular_forms", "morphology")
def past_or_participle(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PARTICIPLE_TASKS)
    before, after = past(task.verb), participle(task.verb)
    if i % 2:
        return f"the {noun} has [{after}|{before}] the {task.thing}"
    return f"the {noun} [{before}|{after}] the {task.thing} {s.one(CALM_TIMES)}"


FORMS: tuple[Callable[[str], str], ...] = (str, participle, gerund)
AUXILIARIES = (("did", 0), ("has", 1), ("is", 2), ("will", 0), ("had", 1), ("was", 2))


def right_or_wrong_form(verb: str, right: int, alternate: int) -> str:
    wrong = 0 if right == 2 else (right + 1 + alternate) % 3
    return f"[{FORMS[right](verb)}|{FORMS[wrong](verb)}]"


@paradigm("auxiliary_and_verb_form", "morphology")
def auxiliary_verb_form(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PLANNED_TASKS)
    auxiliary, right = AUXILIARIES[i % 6]
    if auxiliary == "did":
        auxiliary = "did not"
    if auxiliary == "will":
        auxiliary = s.one(words("will can should must"))
    verb = right_or_wrong_form(task.verb, right, i // 6 % 2)
    return f"the {noun} {auxiliary} {verb} the {task.thing}"


@paradigm("auxiliary_and_verb_form", "morphology")
def question_verb_form(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PLANNED_TASKS)
    auxiliary, right = AUXILIARIES[i % 6]
    verb = right_or_wrong_form(task.verb, right, i // 6 % 2)
    return f"{auxiliary} the {noun} {verb} the {task.thing}?"


@paradigm("tense", "semantics")
def tense_and_time(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PLANNED_TASKS)
    before, after = s.one(WHEN)
    verb = f"will {task.verb}" if i % 2 else past(task.verb)
    time = swap(before, after, i % 2 == 1)
    clause = f"the {noun} {verb} the {task.thing}"
    return f"{time} {clause}" if i % 4 < 2 else f"{clause} {time}"


# Pronouns


@paradigm("pronoun_case", "morphology")
def subject_or_object_pronoun(s: Source, i: int) -> str:
    noun, verb = s.one(PEOPLE), past(s.one(SOCIAL_VERBS))
    subject, other = (
        ("I", "me"),
        ("he", "him"),
        ("she", "her"),
        ("we", "us"),
        ("they", "them"),
    )[i // 2 % 5]
    if i % 2:
        return f"the {noun} {verb} [{other}|{subject}] {s.one(TIMES)}"
    return f"[{subject}|{other}] {verb} the {noun} {s.one(TIMES)}"


@paradigm("pronoun_case", "morphology")
def possessive_pronoun(s: Source, i: int) -> str:
    thing = s.one(TASKS).thing
    determiner, pronoun = (
        ("my", "mine"),
        ("your", "yours"),
        ("her", "hers"),
        ("our", "ours"),
        ("their", "theirs"),
    )[i // 2 % 5]
    if i % 2:
        return f"the {s.one(ADJECTIVES)} {thing} is [{pronoun}|{determiner}]"
    return f"[{determiner}|{pronoun}] {thing} {s.one(THING_PREDICATES)}"


# Comparison


@paradigm("comparison", "morphology")
def comparative_form(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    positive = s.one(words("old tall strong young rich kind fast quiet short smart poor loud"))
    comparative = positive.removesuffix("e") + "er"
    if i % 2:
        return f"the {one} is as [{positive}|{comparative}] as the {other}"
    return f"the {one} is [{comparative}|{positive}] than the {other}"


@paradigm("comparison", "syntax")
def comparative_marker(s: Source, i: int) -> str:
    one, other = s.some(PEOPLE, 2)
    adjective = s.one(
        words(
            "careful famous honest polite patient cheerful generous talented creative nervous "
            "ambitious reliable"
        )
    )
    marker = f"as {adjective} [as|than]" if i % 2 else f"more {adjective} [than|as]"
    return f"the {one} is {marker} the {other}"


# Word order


@paradigm("word_order", "syntax")
def adverb_placement(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PLANNED_TASKS)
    adverb = s.one(words("quickly recently finally secretly soon eventually never immediately"))
    verb = past(task.verb)
    return f"the {noun} [{adverb} {verb}|{verb} {adverb}] the {task.thing}"


PLAIN_TASKS = tuple(
    task for task in TASKS if task.verb not in words("make find wear construct describe buy")
)


@paradigm("word_order", "syntax")
def adjective_placement(s: Source, i: int) -> str:
    noun, task, adjective = s.one(PEOPLE), s.one(PLAIN_TASKS), s.one(ADJECTIVES)
    thing = f"[{adjective} {task.thing}|{task.thing} {adjective}]"
    if i % 2:
        return f"the {thing} was {participle(task.verb)} by the {noun}"
    return f"the {noun} {past(task.verb)} the {thing} {s.one(CALM_TIMES)}"


PARTICLE_VERBS = lines(
    """
    picked up
    switched off
    tried on
    threw away
    wrote down
    sent back
    gave back
    tore up
    put away
    chopped up
    folded up
    handed over
    """
)
PREPOSITION_VERBS = lines(
    """
    looked at
    listened to
    waited for
    talked about
    reached for
    laughed at
    searched for
    hoped for
    stared at
    thought about
    complained about
    smiled at
    """
)


@paradigm("word_order", "syntax")
def particle_placement(s: Source, i: int) -> str:
    verb, particle = s.one(PREPOSITION_VERBS if i % 2 else PARTICLE_VERBS).split()
    pronoun = ("it", "them")[i // 2 % 2]
    order = swap(f"{pronoun} {particle}", f"{particle} {pronoun}", i % 2 == 1)
    return f"the {s.one(PEOPLE)} {verb} {order} {s.one(TIMES_OF_DAY)}"


# Questions


@paradigm("question_formation", "syntax")
def subject_auxiliary_inversion(s: Source, i: int) -> str:
    noun, task = s.one(PEOPLE), s.one(PLANNED_TASKS)
    asked = s.one(words("why how when where"))
    auxiliary = s.one(words("will can should must" if i % 2 else "will can should did"))
    order = swap(f"{auxiliary} the {noun}", f"the {noun} {auxiliary}", i % 2 == 1)
    question = f"{asked} {order} {task.verb} the {task.thing}"
    if i % 2:
        return f"{s.one(NAMES)} {s.one(words('knows remembers understands'))} {question}"
    return f"{question}?"


@paradigm("question_formation", "syntax")
def auxiliary_of_main_clause_fronted(s: Source, i: int) -> str:
    noun, ability, state = s.one(PEOPLE), s.one(ABILITIES), s.one(STATES)
    if i % 2:
        good, bad = (
            f"can the {noun} who is {state} {ability}",
            f"is the {noun} who {state} can {ability}",
        )
    else:
        good, bad = (
            f"is the {noun} who can {ability} {state}",
            f"can the {noun} who {ability} is {state}",
        )
    return f"[{good}|{bad}]?"


TAGS = ("isn't", "hasn't", "won't", "didn't", "can't")


@paradigm("question_formation", "syntax")
def tag_question(s: Source, i: int) -> str:
    task = s.one(PLANNED_TASKS)
    subject, pronoun = (
        (s.one(FEMALE_NAMES), "she"),
        (s.one(MALE_NAMES), "he"),
    )[i // 5 % 2]
    k = i % 5
    verb = (
        f"is {gerund(task.verb)}",
        f"has {participle(task.verb)}",
        f"will {task.verb}",
        past(task.verb),
        f"can {task.verb}",
    )[k]
    wrong = TAGS[(k + 1 + i // 10 % 4) % 5]
    return f"{subject} {verb} the {task.thing}, [{TAGS[k]}|{wrong}] {pronoun}?"


# Coordination


@paradigm("coordination", "syntax")
def correlative_conjunction(s: Source, i: int) -> str:
    name, verb = s.one(NAMES), s.one(SOCIAL_VERBS)
    one, other = s.some(PEOPLE, 2)
    first, good, bad = (("both", "and", "or"), ("either", "or", "and"), ("neither", "nor", "and"))[
        i % 3
    ]
    people = f"{first} the {one} [{good}|{bad}] the {other}"
    if i % 2:
        return f"{people} {past(verb)} {name} {s.one(TIMES)}"
    return f"{name} {past(verb)} {people} {s.one(TIMES)}"


def side(template: str, k: int) -> str:
    text = re.sub(r"\[(.*?)\|(.*?)\]", lambda match: match[k + 1], template)
    text = " ".join(text.split())
    return text[0].upper() + text[1:] + ("" if text.endswith("?") else ".")


def pairs(function: Paradigm) -> list[tuple[str, str]]:
    source = Source(function.__name__)
    made: dict[str, str] = {}
    while len(made) < N:
        template = function(source, len(made))
        made.setdefault(side(template, 0), side(template, 1))
    return list(made.items())


def make_rows() -> list[tuple[str, str, str, str, str]]:
    return [
        (function.__name__, term, field, good, bad)
        for term, field, function in PARADIGMS
        for good, bad in pairs(function)
    ]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, do not write")
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(FIELDS)
    writer.writerows(make_rows())
    if parser.parse_args().check:
        return 0 if PATH.read_text(encoding="utf-8") == text.getvalue() else 1
    PATH.write_text(text.getvalue(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
