"""One signed transaction whose bytes four other implementations agree on.

Its inputs are spent by the keys 0/0 and 0/1 of the mnemonic "abandon" ×11 "about" on mainnet; it
pays 5 DOGE to 0/1 and 6.98778 DOGE to 0/2.
"""

from __future__ import annotations

from typing import Final

TXID: Final = "d9d29bbfd878d269878797879d665f503b6de674bb25c1daec731af56ad30eba"
RAW: Final = bytes.fromhex(
    "0100000002746007aed61e8531faba1af6610f10a5422c70a2a7eb6ffb51cb7a7b7b5e45b4010000006a47304402"
    "2063e520f2fc662d410f8c2eef8ab9008207929cfb306b69d628437fa610d66a1e0220400cd82e25098adf53185e"
    "295087d2b57223b81801038949ec8c2072ccf4d075012102cc6b0dc33aabcf3a23643e5e2919a80c50fb3dd2129c"
    "e409bbc5f0d4643d05e0ffffffffe216461c60c629333ac6b40d29b5b0b6d0ce241aea5903cf4329fc65dc3b1142"
    "010000006a4730440220214f574c01a4d86a9d73f739e72ac327c18a603f7f5fdeb15a11c76758e00f6d0220130a"
    "0ed06bb9b7037a9f98c24f4575930903a42f231c94b7009bd1eb356fcc9b0121025a8ad8881f6facdc949c4a4d03"
    "257414153faea67e96acf57344660080610788ffffffff020065cd1d000000001976a9143bf96544e911ca728f5f"
    "abf5a4f3b65deab684c488ac9081a629000000001976a91422c9db180d3aff1a67002523d16ed498db791a4c88ac"
    "00000000"
)
#: What its two inputs spend: the scripts of 0/0 and 0/1.
SPENT: Final = (
    bytes.fromhex("76a9144a483568665dcdfa68dd58a1f62893448a64333988ac"),
    bytes.fromhex("76a9143bf96544e911ca728f5fabf5a4f3b65deab684c488ac"),
)
