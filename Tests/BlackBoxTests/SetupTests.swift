import Foundation
import Testing

@Suite("scripts/check-setup") struct SetupTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  /// Runs the script where there are these programs, as they are here, and no others.
  private func run(with programs: [String], making made: [String: String] = [:]) async throws
    -> Outcome
  {
    let programDirectory = directory.url.appendingPathComponent("programs")
    try FileManager.default.createDirectory(
      at: programDirectory, withIntermediateDirectories: false)
    for program in programs {
      try FileManager.default.createSymbolicLink(
        at: programDirectory.appendingPathComponent(program),
        withDestinationURL: Executable.installed(program).url)
    }
    for (program, text) in made {
      try await directory.makeScript(
        programDirectory.appendingPathComponent(program).path, text)
    }
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent()
    return try await Executable.shell.run(
      [root.appendingPathComponent("scripts/check-setup").path],
      environment: ["PATH": programDirectory.path], in: directory)
  }

  private static let tools = ["dirname", "id", "uname", "df", "awk", "sed", "head", "cat"]

  @Test("says what is missing, and the command that installs it; exit 1")
  func missing() async throws {
    let outcome = try await run(with: Self.tools, making: ["apt-get": "exit 1"])
    #expect(outcome.status == 1 && outcome.errors == "", "\(outcome.errors)")
    let names = outcome.lines.filter { $0.hasPrefix("MISSING") }.map { $0.split(separator: " ")[1] }
    for name in ["swift", "make", "git", "strace", "curl", "python3", "venv,"] {
      #expect(names.contains(Substring(name)), "\(name): \(outcome.output)")
    }
    #expect(outcome.output.contains("https://swift.org/install"))
    for package in ["strace", "curl", "python3", "python3-venv"] {
      #expect(
        outcome.lines.contains { $0.hasSuffix("apt-get install -y \(package)") }, "\(package)")
    }
    #expect(outcome.lines.last == "\(names.count) missing")
    #expect(outcome.lines.contains { $0.hasPrefix("optional  valgrind") })
  }

  @Test(
    "wants a Swift that is new enough",
    arguments: [
      ("Swift version 5.10 (swift-5.10-RELEASE)", false), ("Swift version 6.0.3 (x)", false),
      ("Apple Swift version 6.1 (x)", true), ("Swift version 6.10.2 (x)", true),
      ("Swift version 7.0 (x)", true), ("nothing", false),
    ])
  func version(said: String, isEnough: Bool) async throws {
    let outcome = try await run(with: Self.tools, making: ["swift": "echo '\(said)'"])
    let line = try #require(outcome.lines.first { $0.contains(" swift") })
    #expect(line.hasPrefix(isEnough ? "ok " : "MISSING "), "\(outcome.output)")
  }
}
