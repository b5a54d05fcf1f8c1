import Testing

@Suite("Usage") struct UsageTests {
  @Test(
    "options that make no sense are a usage error, exit 64",
    arguments: [
      ["--from-seq", "x"], ["--from-seq", "-1"], ["--from-seq", "5", "--to-seq", "4"],
      ["--type", "potato"], ["--unknown"], ["--follow", "--verify"], ["--stats", "--diff", "x"],
      ["--verify", "--json"], ["--verify", "--key", "k"], ["--key", ""], ["a", "b", "--follow"],
      ["-", "-"], ["--diff", "-"], ["-", "--diff", "x"], ["--values", "--stats"],
    ])
  func usageError(arguments: [String]) async throws {
    let outcome = try await Executable.dump.run(arguments, in: try TemporaryDirectory())
    #expect(outcome.status == 64)
    #expect(outcome.errors.contains("Usage: wal-dump"))
    #expect(outcome.output == "")
  }

  @Test("--version says it, exit 0")
  func version() async throws {
    let outcome = try await Executable.dump.run(["--version"], in: try TemporaryDirectory())
    #expect(outcome.status == 0)
    #expect(outcome.output == "0.1.0\n")
  }

  @Test("--help names the exit codes")
  func help() async throws {
    let outcome = try await Executable.dump.run(["--help"], in: try TemporaryDirectory())
    #expect(outcome.status == 0)
    #expect(outcome.output.contains("Exit codes: 0 clean"))
  }
}
