"""`python -m producer`: the posemill command."""

from producer.cli import main

main()
