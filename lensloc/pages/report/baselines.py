"""What architecture and stimuli give alone: the same contrast in the untrained model."""

from lensloc.errors import LensLocError, unwarned
from lensloc.pages.report.pieces import joined, listing, prose
from lensloc.pages.report.sections import Section
from lensloc.selectivity import Selectivity
from lensloc.studies import Localization, Study

_FDR = 0.05


def require_untrained(study: object, found: object) -> None:
    """Refuse what is no baseline of a study.

    Raises:
        LensLocError: something else than a localization in an untrained model of the same shape,
            with the same stimuli and procedure.
    """
    if not isinstance(found, Localization):
        raise LensLocError(
            "untrained is what ll.localize found in the untrained model; "
            f"{type(found).__name__} is no localization."
        )
    if not isinstance(study, Study | Localization):
        raise LensLocError("untrained is for the page of a study or localization; leave it out.")
    trained = study.found if isinstance(study, Study) else study
    for site, own in trained.items():
        if site not in found:
            raise LensLocError(
                f"untrained was not localized at {site}; give ll.localize the same sites, "
                f"{', '.join(trained)}."
            )
        other = found[site]
        made, base = own.provenance, other.provenance
        if not base.untrained:
            raise LensLocError(
                f"untrained was localized in the trained model {base.model}; load it with "
                "untrained=True."
            )
        if other.shape != own.shape or base.contrast_hash != made.contrast_hash:
            what = "other stimuli" if other.shape == own.shape else f"another shape at {site}"
            raise LensLocError(f"untrained has {what} than the study; localize it again.")
        if (base.pooling, base.absolute, base.test, base.max_tokens) != (
            made.pooling, made.absolute, made.test, made.max_tokens,
        ):  # fmt: skip
            raise LensLocError(
                "untrained was localized in another way than the study (pooling, activations, test "
                "or tokens); give both the same."
            )


def untrained(study: Study, found: Localization) -> Section:
    """Show the contrast in the untrained model, beside the trained one."""
    rows = []
    for site, own in study.found.items():
        for name, each in (("trained", own), ("untrained", found[site])):
            rows.append({"site": site, "model": name, **_figures(each, study.percent)})
    seeds = ", ".join(dict.fromkeys(found[next(iter(found))].provenance.seeds)) or "not recorded"
    words = (
        "These are the same stimuli in the same architecture with fresh random weights. What is as "
        "large there is due to the stimuli and the architecture, not to training."
    )
    content = joined(
        prose(words),
        listing(rows, f"The contrast in the trained and the untrained model (seeds: {seeds})"),
    )
    return Section("untrained", "Untrained baseline", content)


def _figures(found: Selectivity, percent: float) -> dict[str, str]:
    with unwarned():  # the study says it
        network = found.top(percent=percent).mask
    return {
        "units with q < 0.05": f"{100 * float((found.q < _FDR).double().mean()):.1f} %",
        "largest t": f"{float(found.t.max()):.1f}",
        f"mean d, top {percent:g} %": f"{float(found.d[network].mean()):.2f}",
    }
