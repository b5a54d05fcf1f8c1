import Glibc
import SimulatedDisk
import Testing
import WAL

@Suite("Random lives of a log on a simulated disk")
struct CrashRunTests {
  /// Seeds of a full run; `CRASH_SEEDS` changes it, `CRASH_SEED` runs one.
  static var seeds: UInt64 {
    getenv("CRASH_SEEDS").flatMap { UInt64(String(cString: $0)) } ?? 10_000
  }

  @Test("No acknowledged record is lost and no start is refused", arguments: [0, 1] as [UInt64])
  func nothingAcknowledgedIsLost(half: UInt64) throws {
    if let one = getenv("CRASH_SEED").flatMap({ UInt64(String(cString: $0)) }) {
      var run = CrashRun(seed: one)
      try run.run()
      return
    }
    var crashes = 0
    var cuts = 0
    for seed in stride(from: half, to: Self.seeds, by: 2) {
      var run = CrashRun(seed: seed)
      try run.run()
      crashes += run.crashes
      cuts += run.cuts
    }
    print("\(Self.seeds / 2) runs, \(crashes) crashes, \(cuts) torn tails cut")
    #expect(cuts > 0)
  }

  @Test(
    "A disk or writer that breaks a rule is found out",
    arguments: SimulatedDisk.Mutation.allCases)
  func mutantsAreFoundOut(mutation: SimulatedDisk.Mutation) {
    for seed in 0..<2_000 as Range<UInt64> {
      var run = CrashRun(seed: seed, mutations: [mutation])
      do {
        try run.run()
      } catch {
        print("\(mutation) found out by \(String(describing: error).prefix(100))")
        return
      }
    }
    Issue.record("2,000 runs did not notice \(mutation)")
  }
}
