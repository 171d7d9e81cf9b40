"""What every area uses: checks of arguments, memory, threads, granularities."""
