// swift-tools-version: 6.1
import PackageDescription

let package = Package(
  name: "shiplog",
  products: [
    .library(name: "WAL", targets: ["WAL"]),
    .executable(name: "wal-dump", targets: ["wal-dump"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2")
  ],
  targets: [
    .target(name: "CChecksum"),
    .target(name: "WAL", dependencies: ["CChecksum"]),
    .executableTarget(
      name: "wal-dump",
      dependencies: [
        "WAL", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      path: "Sources/Tools/wal-dump"),
    .executableTarget(
      name: "log-benchmark", dependencies: ["WAL", "CChecksum"], path: "Benchmarks/log-benchmark"),
    .executableTarget(
      name: "log-writer", dependencies: ["WAL"], path: "Tests/log-writer"),
    .target(
      name: "SimulatedDisk", dependencies: ["WAL", "CChecksum"], path: "Tests/SimulatedDisk"),
    .testTarget(name: "WALTests", dependencies: ["WAL", "CChecksum", "SimulatedDisk"]),
    .testTarget(name: "CrashTests", dependencies: ["WAL", "SimulatedDisk"]),
    .testTarget(name: "BlackBoxTests", dependencies: ["WAL", "wal-dump", "log-writer"]),
  ],
  swiftLanguageModes: [.v6]
)

// Needs libFuzzer's runtime, so it links only in a build for it: `scripts/fuzz`.
if Context.environment["SHIPLOG_FUZZ"] != nil {
  package.targets.append(
    .executableTarget(
      name: "log-fuzzer", dependencies: ["WAL", "SimulatedDisk"], path: "Tests/Fuzz/log-fuzzer"))
}
