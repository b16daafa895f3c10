"""`python -m litesam_bench`, and so `torchrun -m litesam_bench`."""

from litesam_bench.cli.main import main

if __name__ == "__main__":
    main()
