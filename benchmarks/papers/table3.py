"""Table 3 of the psi-MLE paper: captions (Image COCO), BLEU and Self-BLEU.

    python -m benchmarks.papers.table3 --scale smoke|cpu|full [--train FILE] [--test FILE]

10,000 captions to learn from, 10,000 as references; 10,000 samples. The files are split into tokens
as the published figures are. Columns of the paper at temperature 1.
"""

from __future__ import annotations

from benchmarks.papers import text

PUBLISHED = {  # Song et al. 2020, table 3; its training row does not fit the files: see README.md
    "training data": ".68 .47 .30 .19 ; .86 .62 .38 .42",
    "seqgan": ".75 .50 .29 .18 ; .95 .84 .67 .49",
    "maligan": ".67 .43 .26 .16 ; .92 .78 .61 .44",
    "leakgan": ".74 .52 .33 .21 ; .93 .82 .66 .51",
    "mle": ".74 .52 .33 .21 ; .89 .72 .54 .38",
    "psi_mle": ".75 .53 .36 .23 ; .89 .70 .53 .36",
}


def main() -> None:
    """See the module."""
    parser = text.parser(__doc__.splitlines()[0], "image_coco_train.txt", "image_coco_test.txt")
    options = parser.parse_args()
    text.table("psi-MLE's table 3, captions", PUBLISHED, (), options, "table3")


if __name__ == "__main__":
    main()
