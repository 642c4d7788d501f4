"""Configs with the structure of the published ones: levels and lists of bases, and everything that training has in them.

Written for these tests; widths are a few channels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

__all__ = ["written_dtop_config", "written_segmenter_config", "written_segvit_0x_config"]

_RUNTIME = """
default_scope = 'mmseg'
env_cfg = dict(cudnn_benchmark=True, mp_cfg=dict(mp_start_method='fork'), dist_cfg=dict(backend='nccl'))
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='SegLocalVisualizer', vis_backends=vis_backends, name='visualizer')
log_processor = dict(by_epoch=False)
log_level = 'INFO'
load_from = None
resume = False
tta_model = dict(type='SegTTAModel')
"""

_SCHEDULE = """
optimizer = dict(type='SGD', lr=0.01, momentum=0.9)
optim_wrapper = dict(type='OptimWrapper', optimizer=optimizer, clip_grad=None)
param_scheduler = [dict(type='PolyLR', eta_min=1e-4, power=0.9, begin=0, end=40000, by_epoch=False)]
train_cfg = dict(type='IterBasedTrainLoop', max_iters=40000, val_interval=4000)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
default_hooks = dict(timer=dict(type='IterTimerHook'), checkpoint=dict(type='CheckpointHook', interval=4000))
"""

_DATA = """
dataset_type = '{kind}'
data_root = 'data/somewhere'
crop_size = (64, 64)
train_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'{reduce}),
    dict(type='RandomResize', scale=(256, 64), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=crop_size, cat_max_ratio=0.75),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(256, 64), keep_ratio={keep_ratio}),
    dict(type='LoadAnnotations'{reduce}),
    dict(type='PackSegInputs'),
]
train_dataloader = dict(batch_size=4, dataset=dict(type=dataset_type, data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(batch_size=1, dataset=dict(type=dataset_type, data_root=data_root, pipeline=test_pipeline))
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
"""

_DTOP = """
_base_ = ['../_base_/datasets/data.py', '../_base_/schedules/schedule.py', '../_base_/default_runtime.py']
checkpoint = 'https://example.org/vit_base.pth'
out_indices = [1, 2, 3]
in_channels = 32
thresh = 1.0
num_classes = {classes}
norm_cfg = dict(type='SyncBN', requires_grad=True)
crop_size = (64, 64)
data_preprocessor = dict(
    type='SegDataPreProcessor', mean=[127.5, 127.5, 127.5], std=[127.5, 127.5, 127.5],
    bgr_to_rgb=True, pad_val=0, seg_pad_val=255, size=crop_size)
model = dict(
    type='EncoderDecoderPrune',
    pretrained=None,
    backbone=dict(
        type='ViT_prune', num_classes=num_classes, img_size=crop_size, patch_size=16, in_channels=3, embed_dims=in_channels,
        num_layers=4, num_heads=2, drop_path_rate=0.1, attn_drop_rate=0.0, drop_rate=0.0, out_indices=out_indices,
        final_norm=False, norm_cfg=dict(type='LN', eps=1e-6, requires_grad=True), with_cls_token=False,
        interpolate_mode='bicubic', init_cfg=dict(type='Pretrained', checkpoint=checkpoint, prefix=None)),
    decode_head=dict(
        type='PruneHead', img_size=64, in_channels=in_channels, channels=in_channels // 2, num_classes=num_classes,
        thresh=thresh, num_heads=2, layers_per_decoder=1, loss_decode=dict(type='ATMLoss', num_classes=1, dec_layers=1)),
    auxiliary_head=[
        dict(type='PruneHead', img_size=64, in_channels=in_channels, channels=in_channels // 2, num_classes=num_classes,
             thresh=thresh, num_heads=2, layers_per_decoder=1, in_index=index,
             loss_decode=dict(type='ATMLoss', num_classes=1, dec_layers=1))
        for index in (0, 1)],
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(42, 42)))
optimizer_config = dict(grad_clip=dict(max_norm=35, norm_type=2))
find_unused_parameters = True
"""

_SEGVIT_0X = """
img_norm_cfg = dict(mean=[1.0, 2.0, 3.0], std=[50.0, 51.0, 52.0], to_rgb=True)
dataset_type = 'PascalContextDataset'
crop_size = (64, 64)
checkpoint = './pretrained/vit.pth'
train_pipeline = [dict(type='LoadAnnotations'), dict(type='RandomCrop', crop_size=crop_size),
                  dict(type='Normalize', **img_norm_cfg)]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='MultiScaleFlipAug', img_scale=(80, 80), flip=False, transforms=[
        dict(type='Resize', keep_ratio=True, min_size=64), dict(type='RandomFlip'), dict(type='Normalize', **img_norm_cfg),
        dict(type='ImageToTensor', keys=['img']), dict(type='Collect', keys=['img'])])]
data = dict(samples_per_gpu=2, train=dict(type='RepeatDataset', times=2, dataset=dict(type=dataset_type)),
            val=dict(type=dataset_type, pipeline=test_pipeline), test=dict(type=dataset_type, pipeline=test_pipeline))
lr_config = dict(policy='poly', power=1.0)
runner = dict(type='IterBasedRunner', max_iters=80000)
model = dict(
    type='EncoderDecoder', pretrained=checkpoint,
    backbone=dict(type='VisionTransformer', img_size=(64, 64), patch_size=16, embed_dims=32, num_layers=3, num_heads=2,
                  out_indices=[0, 1, 2], final_norm=False, norm_cfg=dict(type='LN', eps=1e-6, requires_grad=True),
                  with_cls_token=False, interpolate_mode='bicubic'),
    decode_head=dict(type='ATMHead', img_size=64, in_channels=32, channels=32, num_classes=60, num_layers=1, num_heads=2,
                     use_stages=3, embed_dims=16, loss_decode=dict(type='ATMLoss', num_classes=60, dec_layers=3)))
test_cfg = dict(mode='whole')
"""

_SEGMENTER_BASE = """
checkpoint = 'https://example.org/vit_base.pth'
data_preprocessor = dict(type='SegDataPreProcessor', mean=[127.5] * 3, std=[127.5] * 3, bgr_to_rgb=True, pad_val=0)
model = dict(
    type='mmseg.EncoderDecoder', data_preprocessor=data_preprocessor, pretrained=checkpoint,
    backbone=dict(type='VisionTransformer', img_size=(64, 64), patch_size=16, in_channels=3, embed_dims=64, num_layers=2,
                  num_heads=4, final_norm=True, norm_cfg=dict(type='LN', eps=1e-6, requires_grad=True),
                  with_cls_token=True, interpolate_mode='bicubic'),
    decode_head=dict(type='SegmenterMaskTransformerHead', in_channels=64, channels=64, num_classes=19, num_layers=1,
                     num_heads=4, embed_dims=64, dropout_ratio=0.0, loss_decode=dict(type='CrossEntropyLoss')),
    test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48)))
"""

_SEGMENTER = """
_base_ = ['../_base_/models/segmenter.py', '../_base_/datasets/data.py', '../_base_/default_runtime.py']
crop_size = (64, 64)
data_preprocessor = dict(size=crop_size)
checkpoint = 'https://example.org/vit_tiny.pth'
model = dict(data_preprocessor=data_preprocessor, pretrained=checkpoint,
             backbone=dict(embed_dims=32, num_heads=2),
             decode_head=dict(in_channels=32, channels=32, num_heads=2, embed_dims=32))
optimizer = dict(lr=0.001, weight_decay=0.0)
"""

Write = Callable[[str, str], Path]


def _bases(write: Write, kind: str, reduce: bool, keep_ratio: bool) -> None:
    said = ", reduce_zero_label=True" if reduce else ""
    write("_base_/datasets/data.py", _DATA.format(kind=kind, reduce=said, keep_ratio=keep_ratio))
    write("_base_/schedules/schedule.py", _SCHEDULE)
    write("_base_/default_runtime.py", _RUNTIME)


def written_dtop_config(
    write: Write, kind: str = "ADE20KDataset", classes: int = 150, reduce: bool = True, keep_ratio: bool = True
) -> Path:
    """As DToP's ``config/prune/prune_segvit_ade20k.py``: mmsegmentation 1.x with a list of bases."""
    _bases(write, kind, reduce, keep_ratio)
    return write("prune/prune_segvit.py", _DTOP.format(classes=classes))


def written_segvit_0x_config(write: Write) -> Path:
    """As SegViT's: mmsegmentation 0.x, with ``Normalize`` inside of the test pipeline's flips."""
    return write("segvit/segvit.py", _SEGVIT_0X)


def written_segmenter_config(write: Write) -> Path:
    """As mmsegmentation's ``segmenter_vit-t_mask``, here of Cityscapes: a model among the bases."""
    _bases(write, "CityscapesDataset", False, True)
    write("_base_/models/segmenter.py", _SEGMENTER_BASE)
    return write("segmenter/segmenter_vit-t_mask.py", _SEGMENTER)
