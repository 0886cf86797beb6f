"""Our PDF reader beside pypdf and pdfminer.six: the same files, one thread each, pages a second.

    cargo build --release -p ibid-chunk --features pdf --example pdf_pages
    python benches/peers/pdf.py target/release/examples/pdf_pages FILE...

Needs pypdf and pdfminer.six. Ours finds reading order, headings, tables and the place of every line as well; `extract_text` of
the others gives text alone (pypdf) or text by its own layout analysis (pdfminer.six). Each side reads a file from memory; the
fastest of three passes counts (of five on our side). Prints a line a reader, and how many times faster ours is.
"""
import io
import json
import logging
import subprocess
import sys
import time
from pathlib import Path

import pdfminer
import pypdf
from pdfminer.high_level import extract_text

logging.disable(logging.CRITICAL)
PASSES = 3


def by_pypdf(data):
    return "\n".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(data)).pages)


def by_pdfminer(data):
    return extract_text(io.BytesIO(data))


def fastest(read, data):
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        read(data)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def main():
    program, *names = sys.argv[1:]
    files = [Path(name).read_bytes() for name in names]
    pages = sum(len(pypdf.PdfReader(io.BytesIO(data)).pages) for data in files)
    ours = json.loads(subprocess.run([program, *names], check=True, capture_output=True, text=True).stdout)
    peers = {f"pypdf {pypdf.__version__}": by_pypdf, f"pdfminer.six {pdfminer.__version__}": by_pdfminer}
    print(f"{pages} pages in {len(files)} files")
    print(f"ibid: {pages / ours['seconds']:.0f} pages/s")
    for name, read in peers.items():
        seconds = sum(fastest(read, data) for data in files)
        print(f"{name}: {pages / seconds:.0f} pages/s; ours is {seconds / ours['seconds']:.1f} times as fast")


main()
