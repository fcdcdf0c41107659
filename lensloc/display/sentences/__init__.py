"""Sentences that judge: one table of cases, from which report, cards, demo and commands speak.

What is here knows numbers and names only. A module holds one kind of case: what a lesion did
(:mod:`~lensloc.display.sentences.lesions`), whether units prefer the target
(:mod:`~lensloc.display.sentences.profiles`), what was selected
(:mod:`~lensloc.display.sentences.selection`). ``docs/sentences.md`` shows all of them.
"""
