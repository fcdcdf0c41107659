"""Natural Stories in small: files of the published form."""

from collections.abc import Mapping
from pathlib import Path

STORIES = {
    1: "'Once there were \"two\" null kings.'",
    2: "Nobody knew, not even they.",
}


def natural_stories(
    folder: Path,
    stories: Mapping[int, str] = STORIES,
    read: Mapping[int, str] | None = None,
) -> Path:
    """Write a folder of stories in the published form.

    Args:
        folder: is made.
        stories: number -> text.
        read: what GPT-3 read, where that differs.
    """
    folder.mkdir()
    rows = [
        (word, zone, item)
        for item, text in stories.items()
        for zone, word in enumerate(text.split(), start=1)
    ]
    (folder / "all_stories.tok").write_text(
        "word\tzone\titem\n" + "".join(f"{w}\t{z}\t{i}\n" for w, z, i in rows)
    )
    header = "word\tzone\titem\tnItem\tmeanItemRT\tsdItemRT\tgmeanItemRT\tgsdItemRT\n"
    lines = [f"{w}\t{z}\t{i}\t80\t{300 + 10 * z}\t50\t{290 + 10 * z}\t1.4\n" for w, z, i in rows]
    (folder / "processed_wordinfo.tsv").write_text(header + "".join(sorted(lines)))
    tokens = ["token,logprob,offset,model,time,id,story"]
    for story, text in enumerate((read or stories).values()):
        at = 0
        for part in text.split(" "):
            word = part if at == 0 else f" {part}"
            for piece in (word[:3], word[3:]):
                if piece:
                    quoted = '"' + piece.replace('"', '""') + '"'
                    value = "" if at == 0 else f"-{1 + at / 100}"
                    tokens.append(f"{quoted},{value},{at},davinci,1,x,{story}")
                    at += len(piece)
    (folder / "all_stories_gpt3.csv").write_text("\n".join(tokens) + "\n")
    return folder
