"""`python -m producer`: the posemill command."""

from producer.cli import main

if __name__ == "__main__":
    main()
