import Foundation
import Testing

extension NodeProcessTests {
  @Suite("A node without privileges") struct PrivilegeTests {
    @Test("serves as one with all of them does")
    func serves() async throws {
      var settings = ServedNode.Settings(in: try TemporaryDirectory())
      // Who is not root has none.
      if getuid() == 0 {
        settings.launcher = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
      }
      let node = try await ServedNode.start(settings)
      let connection = try node.connect()
      #expect(try connection.put("key", "value").status == 201)
      #expect(try connection.get("key").text == "value")
      try await node.stop()
    }
  }
}
