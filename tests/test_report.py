"""The page: every number from the result, every text escaped."""

from pathlib import Path
from typing import Any

from lensloc import Contrast, localize, report


def test_page_holds_facts_and_escapes_texts(tiny_llama: Any, tmp_path: Path) -> None:
    contrast = Contrast.from_texts(
        {"<b>a</b>": ["the old sun", "vash mopi"], "c": ["all", "village bridge"]},
        target="<b>a</b>",
        control="c",
        name="<script>alert(1)</script>",
    )
    found = localize(tiny_llama, contrast, ["resid_post", "head"], progress=False)
    masks = {site: found[site].top(k=4) for site in found}
    page = report.write_page(found, masks, tmp_path / "page.html").read_text()
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "2 &lt;b&gt;a&lt;/b&gt; against 2 c" in page
    assert found["resid_post"].provenance.weights_hash in page
    for address in masks["resid_post"].addresses:
        assert address in page


def test_summary_is_made_from_the_figures(tiny_llama: Any, small_contrast: Contrast) -> None:
    found = localize(tiny_llama, small_contrast, progress=False)
    network = found.top(k=6)
    text = report.summary(found, network)
    t = found["resid_post"].t[network.mask]
    assert "6 of 96 units" in text
    assert f"{t.min():.1f} to {t.max():.1f}" in text
    assert f"{(found['resid_post'].q < 0.05).double().mean() * 100:.0f} % of all units" in text
