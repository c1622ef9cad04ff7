"""Table 2 of the psi-MLE paper: news (EMNLP2017 WMT), BLEU and Self-BLEU.

    python -m benchmarks.papers.table2 --scale smoke|cpu|full [--train FILE] [--test FILE]

The published runs learn from 270,000 sentences. Where that file is not at hand the 10,000 of the
validation file are learned from, which is another task: read rows against each other, not
against the published ones. MLE and psi-MLE stand in the paper with logits times 1.25.
"""

from __future__ import annotations

from benchmarks.papers import text

PUBLISHED = {  # Song et al. 2020, table 2
    "training data": ".86 .61 .38 .23 ; .86 .62 .38 .24",
    "seqgan": ".72 .42 .18 .09 ; .91 .70 .46 .27",
    "maligan": ".76 .44 .17 .08 ; .91 .72 .47 .25",
    "leakgan": ".84 .65 .44 .27 ; .94 .82 .67 .51",
    "mle x1.25": ".93 .74 .51 .32 ; .93 .78 .59 .41",
    "psi_mle x1.25": ".93 .76 .54 .33 ; .91 .75 .56 .38",
}


def main() -> None:
    """See the module."""
    files = ("emnlp_news_valid.tok.txt", "emnlp_news_test.tok.txt")
    options = text.parser(__doc__.splitlines()[0], *files).parse_args()
    text.table("psi-MLE's table 2, news", PUBLISHED, ("mle", "psi_mle"), options, "table2")


if __name__ == "__main__":
    main()
