// swift-tools-version: 6.1
import PackageDescription

let argumentParser = Target.Dependency.product(
  name: "ArgumentParser", package: "swift-argument-parser")
let nio: [Target.Dependency] = [
  .product(name: "NIOCore", package: "swift-nio"),
  .product(name: "NIOPosix", package: "swift-nio"),
  .product(name: "NIOHTTP1", package: "swift-nio"),
]
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let metrics = Target.Dependency.product(name: "Metrics", package: "swift-metrics")
let lifecycle: [Target.Dependency] = [
  .product(name: "ServiceLifecycle", package: "swift-service-lifecycle"),
  .product(name: "UnixSignals", package: "swift-service-lifecycle"),
]

/// The programs that users run have Swift's libraries in them: as shared ones they cost a node some megabytes of
/// memory, and have to be there where it runs. The last two belong to FoundationEssentials; nothing here may need the
/// rest of Foundation, which is three times as large as a node.
let program: [LinkerSetting] = [
  .unsafeFlags(
    ["-static-stdlib", "-l_FoundationCShims", "-l_FoundationCollections"],
    .when(platforms: [.linux], configuration: .release))
]

let package = Package(
  name: "shiplog",
  products: [
    .library(name: "WAL", targets: ["WAL"]),
    .library(name: "KVClient", targets: ["KVClient"]),
    .executable(name: "kv", targets: ["kv"]),
    .executable(name: "wal-dump", targets: ["wal-dump"]),
    .executable(name: "wal-compact", targets: ["wal-compact"]),
    .executable(name: "snapshot-split", targets: ["snapshot-split"]),
  ],
  dependencies: [
    .package(url: "https://github.com/HdrHistogram/hdrhistogram-swift", from: "0.2.0"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
    .package(url: "https://github.com/apple/swift-metrics", from: "2.13.0"),
    .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
    .package(url: "https://github.com/swift-server/swift-service-lifecycle", from: "2.13.0"),
  ],
  targets: [
    .target(name: "CChecksum"),
    .target(name: "CMemory"),
    .target(name: "WAL", dependencies: ["CChecksum"]),
    .target(name: "Sharding"),
    .systemLibrary(name: "CZstd", pkgConfig: "libzstd", providers: [.apt(["libzstd-dev"])]),
    .target(name: "Engine", dependencies: ["WAL", "Sharding", "CMemory", "CZstd"]),
    .target(name: "Client", dependencies: ["Sharding"] + nio),
    .target(name: "KVClient", dependencies: ["Client", "Sharding"] + nio),
    .target(
      name: "Server",
      dependencies: ["Engine", "Client", "Sharding", "CMemory", logging, metrics] + nio
        + lifecycle),
    .target(name: "Terminal", dependencies: ["WAL"], path: "Sources/Tools/Terminal"),
    .systemLibrary(name: "CEpoll"),
    .target(
      name: "Bench",
      dependencies: [
        "Client", "KVClient", "Sharding", "WAL", "CEpoll",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "Histogram", package: "hdrhistogram-swift"),
      ], path: "Sources/Tools/Bench"),
    .executableTarget(
      name: "kv",
      dependencies: [
        "Server", "Client", "KVClient", "Engine", "Sharding", "Terminal", "Bench", argumentParser,
        logging,
      ] + nio + lifecycle,
      path: "Sources/Tools/kv", linkerSettings: program),
    .executableTarget(
      name: "wal-dump", dependencies: ["WAL", "Engine", argumentParser],
      path: "Sources/Tools/wal-dump", linkerSettings: program),
    .executableTarget(
      name: "wal-compact", dependencies: ["Engine", "Terminal", argumentParser],
      path: "Sources/Tools/wal-compact", linkerSettings: program),
    .executableTarget(
      name: "snapshot-split", dependencies: ["Engine", "Terminal", argumentParser],
      path: "Sources/Tools/snapshot-split", linkerSettings: program),
    .executableTarget(
      name: "log-benchmark", dependencies: ["WAL", "CChecksum"], path: "Benchmarks/log-benchmark"),
    .executableTarget(
      name: "request-cost", dependencies: ["Server", logging], path: "Benchmarks/request-cost"),
    .executableTarget(
      name: "purge-locks", dependencies: ["Engine", "Sharding", "WAL"],
      path: "Benchmarks/purge-locks"),
    .executableTarget(
      name: "client-throughput", dependencies: ["KVClient"], path: "Benchmarks/client-throughput"),
    .executableTarget(
      name: "client-example", dependencies: ["KVClient"], path: "examples/client"),
    .executableTarget(
      name: "log-writer", dependencies: ["WAL"], path: "Tests/log-writer"),
    .target(
      name: "SimulatedDisk", dependencies: ["WAL", "CChecksum"], path: "Tests/SimulatedDisk"),
    .target(
      name: "LanePair",
      dependencies: [
        "Server", "Engine", "WAL", "SimulatedDisk", "TemporaryFiles",
        .product(name: "NIOCore", package: "swift-nio"),
        .product(name: "NIOEmbedded", package: "swift-nio"),
      ], path: "Tests/LanePair"),
    .target(name: "TemporaryFiles", path: "Tests/TemporaryFiles"),
    .testTarget(name: "ShardingTests", dependencies: ["Sharding"]),
    .testTarget(
      name: "WALTests", dependencies: ["WAL", "CChecksum", "SimulatedDisk", "TemporaryFiles"]),
    .testTarget(name: "EngineTests", dependencies: ["Engine", "SimulatedDisk", "TemporaryFiles"]),
    .testTarget(
      name: "ServerTests",
      dependencies: [
        "Server", "Client", "Engine", "WAL", "LanePair", "SimulatedDisk", "TemporaryFiles", logging,
      ] + nio),
    .testTarget(
      name: "ClientTests",
      dependencies: ["Client", .product(name: "NIOEmbedded", package: "swift-nio")]),
    .testTarget(name: "KVClientTests", dependencies: ["KVClient", "Sharding"] + nio),
    .testTarget(name: "BenchTests", dependencies: ["Bench", "Client", "Sharding"] + nio),
    .testTarget(name: "CrashTests", dependencies: ["WAL", "SimulatedDisk"]),
    .testTarget(
      name: "BlackBoxTests",
      dependencies: [
        // They start the programs as well, which `--build-tests` builds: as dependencies those would have
        // the tests linked as they are.
        "WAL", "Engine", "Sharding", "Terminal", "KVClient",
      ]),
  ],
  swiftLanguageModes: [.v6]
)

// Needs libFuzzer's runtime, so it links only in a build for it: `scripts/fuzz`.
if Context.environment["SHIPLOG_FUZZ"] != nil {
  package.targets += [
    .executableTarget(
      name: "log-fuzzer", dependencies: ["WAL", "SimulatedDisk"], path: "Tests/Fuzz/log-fuzzer"),
    .executableTarget(
      name: "snapshot-fuzzer", dependencies: ["Engine", "Sharding", "WAL", "SimulatedDisk"],
      path: "Tests/Fuzz/snapshot-fuzzer"),
    .executableTarget(
      name: "http-fuzzer", dependencies: ["LanePair"], path: "Tests/Fuzz/http-fuzzer"),
  ]
}
